// The schema of the catalog and chunk index, as a list of migrations; each runs once, in order.
import { BACKUP_SCHEMA } from './backup-schema.ts'
import { DRILL_SCHEMA } from './drill-schema.ts'
import { EVENT_SCHEMA } from './event-schema.ts'
import { NOTICE_SCHEMA } from './notice-schema.ts'
import { PACK_SCHEMA } from './pack-schema.ts'
import { PLAN_SCHEMA } from './plan-schema.ts'
import { RESTORE_SCHEMA } from './restore-schema.ts'
import { RUN_SCHEMA } from './run-schema.ts'
import { STATE_SCHEMA } from './state-schema.ts'
import { TALLY_SCHEMA } from './tally-schema.ts'
import { TENANT_SCHEMA } from './tenant-schema.ts'
import { UPKEEP_SCHEMA } from './upkeep-schema.ts'
import { USE_SCHEMA } from './use-schema.ts'

// tables before the triggers on them
const BASELINE = [
  TENANT_SCHEMA,
  PLAN_SCHEMA,
  BACKUP_SCHEMA,
  PACK_SCHEMA,
  RUN_SCHEMA,
  RESTORE_SCHEMA,
  EVENT_SCHEMA,
  NOTICE_SCHEMA,
  UPKEEP_SCHEMA,
  STATE_SCHEMA,
  TALLY_SCHEMA,
].join('')

// what a released program has run stays as it is: a change comes behind it, and one of a counted table makes that one's triggers
// and its count (tally-schema.ts) anew
/** SQL scripts; a catalog whose `user_version` is the number of them has the newest schema. */
export const MIGRATIONS: readonly string[] = [BASELINE, `${DRILL_SCHEMA}${USE_SCHEMA}`]
