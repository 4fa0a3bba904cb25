/** The lifecycle of VMs: one transition table above interchangeable backends, durable and journalled. */
export type * from './backend.ts';
export type * from './vm.ts';
