/** What Alcove needs of the machine it runs on: time, programs, processes. Knows nothing of VMs. */
export { type Clock, systemClock } from './clock.ts';
export { Collector } from './collector.ts';
export { Holds } from './holds.ts';
export { packagePath } from './package-path.ts';
export { packageVersion } from './package-version.ts';
export {
  bootId,
  identifyProcess,
  isAlive,
  type ProcessIdentity,
  signalProcess,
} from './process-identity.ts';
export {
  runTool,
  type ToolOptions,
  type ToolResult,
  toolMissing,
  toolPackages,
  toolPath,
} from './run-tool.ts';
export { type FlightContext, type FlightOptions, SingleFlight } from './single-flight.ts';
