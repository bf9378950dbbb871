// How much runs at once, and how often the scheduler looks.
import type { JobLimits } from '../catalog/jobs.ts'

/** Those that people start count. */
export const LIMITS_DEFAULT: JobLimits = { perHost: 2, perTenant: 16, perGateway: 64 }

/** Works of upkeep at once. */
export const WORKS_PER_TENANT_MAX = 1
export const WORKS_PER_GATEWAY_MAX = 2

/** The scheduler sleeps so long at most, in milliseconds: then it compares instants, whatever became of the clock meanwhile. */
export const SLEEP_MS_MAX = 60_000

/** It looks so soon after something happened, in milliseconds: what comes together is one look. */
export const WAKE_MS = 200

/** How long a gateway that works on upkeep is believed to live without its saying so, in milliseconds. */
export const LEASE_MS = 3 * 60_000

/** Runs are kept so long, in milliseconds; see also RUNS_KEPT_MAX. */
export const HISTORY_MS = 90 * 24 * 3_600_000

/** How often old runs are removed, in milliseconds, and how many in one transaction. */
export const TRIM_INTERVAL_MS = 3_600_000
export const TRIM_ROWS = 10_000
