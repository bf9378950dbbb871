// All services of a gateway: the door and the admission.
import type { Clock } from '../../protocol/peer.ts'
import type { Audit } from '../auth/audit.ts'
import type { Authority } from '../auth/authority.ts'
import { LoginCodes } from '../auth/login-codes.ts'
import type { Datastore } from '../datastore/datastore.ts'
import type { Events } from '../events/events.ts'
import type { Backups } from '../jobs/backups.ts'
import type { Restores } from '../jobs/restores.ts'
import { StepNotes } from '../jobs/step-notes.ts'
import type { Log } from '../../protocol/host/log.ts'
import type { Maintenance } from '../maintenance/maintenance.ts'
import type { NoticeDesk } from '../notify/desk.ts'
import { Forecasts } from '../freshness/forecasts.ts'
import type { MachineStates } from '../freshness/machine-states.ts'
import { ByHand } from '../scheduler/by-hand.ts'
import { Admission } from './admission.ts'
import { backupActions } from './backups.ts'
import { coverageActions } from './coverage.ts'
import { Door, type DoorSessions } from './door.ts'
import { drillActions } from './drills.ts'
import { eventActions } from './events.ts'
import { identityActions } from './identities.ts'
import { machineActions } from './machines.ts'
import { notifyActions } from './notify.ts'
import { planActions } from './plans.ts'
import { pointActions } from './points.ts'
import { restoreActions } from './restores.ts'
import { runActions } from './runs.ts'
import type { Sessions } from './sessions.ts'
import { tenantActions } from './tenants.ts'
import { upkeepActions } from './upkeep.ts'

export interface Parts {
  /** The data folder. */
  readonly folder: string
  readonly datastore: Datastore
  readonly authority: Authority
  readonly audit: Audit
  readonly sessions: Sessions & DoorSessions
  readonly backups: Backups
  readonly restores: Restores
  readonly maintenance: Maintenance
  readonly events: Events
  readonly states: MachineStates
  /** Where agents' steps are kept for whoever measures; absent where nobody does. */
  readonly steps?: StepNotes
  readonly desk: NoticeDesk
  /** Where the console is served; absent or null where no port is open. */
  readonly address?: () => string | null
  /** What agents must trust, in PEM; null where they need nothing. Absent for a gateway without a port. */
  readonly agentsCa?: () => string | null
  readonly clock: Clock
  readonly log: Log
}

/** What sessions, ports and the local socket ask. */
export interface Service {
  readonly door: Door
  readonly admission: Admission
}

export const serviceOf = (parts: Parts): Service => {
  const {
    folder,
    datastore,
    authority,
    audit,
    sessions,
    backups,
    restores,
    maintenance,
    events,
    states,
    desk,
    clock,
    log,
  } = parts
  const { catalog } = datastore
  const byHand = new ByHand({ catalog, conditions: events.conditions, clock, log })
  const { steps = new StepNotes(0), address = () => null, agentsCa = () => null } = parts
  const codes = new LoginCodes(clock)
  const forecasts = new Forecasts({ catalog, space: datastore.space, clock })
  const { skews } = backups
  const actions = {
    ...identityActions({ catalog, authority, audit, sessions, codes, skews, address, agentsCa, clock }),
    ...tenantActions({ catalog, clock }),
    ...machineActions({ catalog, sessions, backups, events, clock, log }),
    ...backupActions({ catalog, backups, steps, clock }),
    ...planActions({ catalog, events, clock }),
    ...runActions({ catalog }),
    ...restoreActions({ catalog, restores }),
    ...drillActions({ datastore, events, clock }),
    ...pointActions({ datastore, restores, events, byHand, clock, log }),
    ...notifyActions({ catalog, desk, wake: () => events.wake(), clock }),
    ...upkeepActions({ maintenance, audit, folder, clock, forecasts, catalog, byHand }),
    ...coverageActions({ catalog, states, forecasts, clock }),
    ...eventActions({ catalog, events, clock }),
  }
  return {
    door: new Door({ actions, catalog, backups, audit, sessions, clock, log }),
    admission: new Admission({ catalog, authority, audit, codes, clock, log }),
  }
}
