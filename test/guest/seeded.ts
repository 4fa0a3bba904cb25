/** Parameters of property tests that look at the same cases in every run. */
export const seeded = { seed: 20_030_404, numRuns: 300 } as const;
