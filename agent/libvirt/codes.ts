// The numbers that libvirt's protocol uses for states, events, jobs and errors, with their names here.

/** Error numbers of libvirt that callers decide by; `details.libvirtCode` of a LIBVIRT_ERROR carries them. */
export const LIBVIRT_CODES = {
  internal: 1,
  noSupport: 3,
  invalidArgument: 8,
  operationFailed: 9,
  xmlError: 27,
  operationDenied: 29,
  systemError: 38,
  rpc: 39,
  noDomain: 42,
  authFailed: 45,
  operationInvalid: 55,
  configUnsupported: 67,
  operationTimeout: 68,
  argumentUnsupported: 74,
  operationAborted: 78,
  blockCopyActive: 83,
  operationUnsupported: 84,
  agentUnresponsive: 86,
  resourceBusy: 87,
  accessDenied: 88,
  authUnavailable: 94,
  noCheckpoint: 103,
  noBackup: 104,
  checkpointInconsistent: 109,
} as const

/** The name at a number's place in a list, and one that carries the number for what came after this was written. */
const named = <Name extends string>(names: readonly Name[], other: Name): ((code: number) => Name) => {
  return (code) => names[code] ?? other
}

export const DOMAIN_STATES = [
  'unknown',
  'running',
  'blocked',
  'paused',
  'shutting-down',
  'shut-off',
  'crashed',
  'suspended-by-guest',
] as const
export type DomainState = (typeof DOMAIN_STATES)[number]
export const domainStateOf = named<DomainState>(DOMAIN_STATES, 'unknown')

const RUNNING_REASONS = [
  'unknown',
  'booted',
  'migrated',
  'restored',
  'from-snapshot',
  'unpaused',
  'migration-cancelled',
  'save-cancelled',
  'wakeup',
  'crashed',
  'postcopy',
  'postcopy-failed',
] as const
const PAUSED_REASONS = [
  'unknown',
  'user',
  'migration',
  'save',
  'dump',
  'io-error',
  'watchdog',
  'from-snapshot',
  'shutting-down',
  'snapshot',
  'crashed',
  'starting-up',
  'postcopy',
  'postcopy-failed',
] as const
const SHUT_OFF_REASONS = [
  'unknown',
  'shutdown',
  'destroyed',
  'crashed',
  'migrated',
  'saved',
  'failed',
  'from-snapshot',
  'daemon',
] as const

/** Why a domain is in its state; `unknown` for what libvirt does not tell or a later version added. */
export type DomainStateReason =
  (typeof RUNNING_REASONS)[number] | (typeof PAUSED_REASONS)[number] | (typeof SHUT_OFF_REASONS)[number]

export const domainReasonOf = (state: DomainState, code: number): DomainStateReason => {
  if (state === 'running') return RUNNING_REASONS[code] ?? 'unknown'
  if (state === 'paused') return PAUSED_REASONS[code] ?? 'unknown'
  if (state === 'shut-off') return SHUT_OFF_REASONS[code] ?? 'unknown'
  return 'unknown'
}

const LIFECYCLES = [
  'defined',
  'undefined',
  'started',
  'suspended',
  'resumed',
  'stopped',
  'shutdown',
  'suspended-by-guest',
  'crashed',
  'unknown',
] as const
export type Lifecycle = (typeof LIFECYCLES)[number]
export const lifecycleOf = named<Lifecycle>(LIFECYCLES, 'unknown')

const STOPPED_DETAILS = ['shutdown', 'destroyed', 'crashed', 'migrated', 'saved', 'failed', 'from-snapshot'] as const
const STARTED_DETAILS = ['booted', 'migrated', 'restored', 'from-snapshot', 'wakeup'] as const
const SUSPENDED_DETAILS = [
  'paused',
  'migrated',
  'io-error',
  'watchdog',
  'restored',
  'from-snapshot',
  'api-error',
  'postcopy',
  'postcopy-failed',
] as const
const RESUMED_DETAILS = ['unpaused', 'migrated', 'from-snapshot', 'postcopy', 'postcopy-failed'] as const

export type LifecycleDetail =
  | (typeof STOPPED_DETAILS)[number]
  | (typeof STARTED_DETAILS)[number]
  | (typeof SUSPENDED_DETAILS)[number]
  | (typeof RESUMED_DETAILS)[number]
  | 'other'

export const lifecycleDetailOf = (event: Lifecycle, code: number): LifecycleDetail => {
  if (event === 'stopped') return STOPPED_DETAILS[code] ?? 'other'
  if (event === 'started') return STARTED_DETAILS[code] ?? 'other'
  if (event === 'suspended') return SUSPENDED_DETAILS[code] ?? 'other'
  if (event === 'resumed') return RESUMED_DETAILS[code] ?? 'other'
  return 'other'
}

const JOB_TYPES = ['none', 'bounded', 'unbounded', 'completed', 'failed', 'cancelled', 'unknown'] as const
/** `bounded` and `unbounded` run; `none` is no job; the others ended. */
export type JobType = (typeof JOB_TYPES)[number]
export const jobTypeOf = named<JobType>(JOB_TYPES, 'unknown')

const JOB_OPERATIONS = [
  'unknown',
  'start',
  'save',
  'restore',
  'migration-in',
  'migration-out',
  'snapshot',
  'snapshot-revert',
  'dump',
  'backup',
  'snapshot-delete',
] as const
export type JobOperation = (typeof JOB_OPERATIONS)[number]
export const jobOperationOf = named<JobOperation>(JOB_OPERATIONS, 'unknown')

const BLOCK_JOBS = ['unknown', 'pull', 'copy', 'commit', 'active-commit', 'backup'] as const
export type BlockJobType = (typeof BLOCK_JOBS)[number]
export const blockJobOf = named<BlockJobType>(BLOCK_JOBS, 'unknown')

const BLOCK_JOB_STATES = ['completed', 'failed', 'cancelled', 'ready', 'unknown'] as const
export type BlockJobState = (typeof BLOCK_JOB_STATES)[number]
export const blockJobStateOf = named<BlockJobState>(BLOCK_JOB_STATES, 'unknown')

const IO_ERROR_ACTIONS = ['none', 'pause', 'report', 'unknown'] as const
/** What QEMU did on the error: `none` ignored it, `pause` stopped the machine, `report` told the guest. */
export type IoErrorAction = (typeof IO_ERROR_ACTIONS)[number]
export const ioErrorActionOf = named<IoErrorAction>(IO_ERROR_ACTIONS, 'unknown')
