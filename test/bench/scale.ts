// What grows and what must not: disks of very different sizes, and an index and a list of restore points that are years old.
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { requireSpace } from './host.ts'
import { sparseDisks } from './scale-disk.ts'
import { largeIndex } from './scale-index.ts'
import type { Report, Scenario, ScenarioContext } from './scenario.ts'

/** Disk space that a run may take at one time, the kept index included, in bytes. */
const SPACE_BYTES = 8 * 2 ** 30

/** Runs a part in a folder of its own that is gone afterwards, so that the parts do not pile up. */
const part = async (
  context: ScenarioContext,
  name: string,
  work: (context: ScenarioContext) => Promise<Report>,
): Promise<Report> => {
  const folder = path.join(context.folder, name)
  await mkdir(folder)
  try {
    return await work({ ...context, folder })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export const run: Scenario['run'] = async (context) => {
  await requireSpace(context.folder, SPACE_BYTES)
  const disks = await part(context, 'disks', sparseDisks)
  const index = await part(context, 'index', largeIndex)
  return {
    tables: [...disks.tables, ...index.tables],
    goals: [...disks.goals, ...index.goals],
    notes: [...disks.notes, ...index.notes],
    details: { disks: disks.details, index: index.details },
  }
}
