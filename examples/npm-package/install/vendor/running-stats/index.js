/** Figures of numbers that come one by one. By Welford's method, which stays exact where a sum of squares does not. */
export class RunningStats {
  count = 0;
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  mean = 0;
  #squares = 0;

  add(number) {
    this.count++;
    this.min = Math.min(this.min, number);
    this.max = Math.max(this.max, number);
    const before = number - this.mean;
    this.mean += before / this.count;
    this.#squares += before * (number - this.mean);
  }

  /** Of the sample; 0 of less than two numbers. */
  get deviation() {
    return this.count < 2 ? 0 : Math.sqrt(this.#squares / (this.count - 1));
  }
}
