// Many agents on one gateway: eight that upload at once, and a thousand that are only there.
import { idleAgents } from './fleet-idle.ts'
import { uploadsAtOnce } from './fleet-uploads.ts'
import { requireSpace } from './host.ts'
import type { Scenario } from './scenario.ts'

/** Disk space that a run may take at one time, in bytes. */
const SPACE_BYTES = 14 * 2 ** 30

export const run: Scenario['run'] = async (context) => {
  await requireSpace(context.folder, SPACE_BYTES)
  const uploads = await uploadsAtOnce(context)
  const idle = await idleAgents(context)
  return {
    tables: [...uploads.tables, ...idle.tables],
    goals: [...uploads.goals, ...idle.goals],
    notes: [...uploads.notes, ...idle.notes],
    details: { uploads: uploads.details, idle: idle.details },
  }
}
