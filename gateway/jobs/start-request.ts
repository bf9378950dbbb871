// What a backup is started with.
import type { PlannedStart } from '../catalog/jobs.ts'
import type { MachineRow } from '../catalog/machines.ts'
import type { Tenant } from '../catalog/tenants.ts'

export interface StartRequest {
  readonly tenant: Tenant
  readonly machine: MachineRow
  readonly subject: string
  readonly full: boolean
  /** Compares everything reported as unchanged with the base; the machine's policy may request it as well. */
  readonly compare: boolean
  /** The due run that it belongs to, and the gateway that starts it; absent where a person does. */
  readonly run?: PlannedStart
}
