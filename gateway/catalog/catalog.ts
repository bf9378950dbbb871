// The catalog: what the gateway knows of tenants, machines, backups and packs. Each subject declares what its users need; an
// engine implements all of them.
import type { AuditLog } from './audit.ts'
import type { Checks } from './checks.ts'
import type { Records } from './records.ts'
import type { Collection } from './collection.ts'
import type { Condition, Room } from './condition.ts'
import type { Coverage } from './coverage.ts'
import type { Conditions, EventLog } from './events.ts'
import type { DamageNotes, Losses, LostRanges } from './damage.ts'
import type { Drills } from './drills.ts'
import type { FigureBook } from './figures.ts'
import type { Agents, Enrolments, Identities, Tokens } from './identities.ts'
import type { Jobs } from './jobs.ts'
import type { Machines } from './machines.ts'
import type { Notices } from './notices.ts'
import type { Packs } from './packs.ts'
import type { Plans } from './plans.ts'
import type { Points } from './points.ts'
import type { Restores } from './restores.ts'
import type { Retained } from './retention.ts'
import type { Runs } from './runs.ts'
import type { Settings } from './settings.ts'
import type { States } from './states.ts'
import type { Quotas, Tenants } from './tenants.ts'
import type { Upkeep } from './upkeep.ts'
import type { Usage } from './usage.ts'
import type { Watching } from './watching.ts'

export interface Catalog {
  readonly agents: Agents
  readonly audit: AuditLog
  readonly checks: Checks
  readonly records: Records
  readonly collection: Collection
  readonly condition: Condition
  readonly conditions: Conditions
  readonly coverage: Coverage
  readonly damage: DamageNotes
  readonly drills: Drills
  readonly enrolments: Enrolments
  readonly events: EventLog
  readonly figures: FigureBook
  readonly identities: Identities
  readonly jobs: Jobs
  readonly losses: Losses
  readonly lost: LostRanges
  readonly machines: Machines
  readonly notices: Notices
  readonly packs: Packs
  readonly plans: Plans
  readonly points: Points
  readonly quotas: Quotas
  readonly restores: Restores
  readonly retention: Retained
  readonly room: Room
  readonly runs: Runs
  readonly settings: Settings
  readonly states: States
  readonly tenants: Tenants
  readonly tokens: Tokens
  readonly upkeep: Upkeep
  readonly usage: Usage
  readonly watching: Watching
}
