// A program to be killed: changes one condition again and again, tells of it besides, and prints what was acknowledged.
//
// Usage: node events-child.ts CATALOG
import { writeSync } from 'node:fs'
import { openThread } from '../../../gateway/catalog/sqlite/database.ts'
import { Events } from '../../../gateway/events/events.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import { openLog } from '../../../protocol/host/log.ts'

const catalog = await openThread(process.argv[2]!)
const events = new Events({ catalog, clock: systemClock, log: openLog({ level: 'silent' }) })
const [held] = await catalog.conditions.of({ tenant: null, kind: 'clock.wrong' })
const about = { tenant: null, key: 'clock.wrong', kind: 'clock.wrong', severity: 'warning' } as const
writeSync(1, 'ready\n')
for (let step = Number(held?.value ?? 0) + 1; ; step++) {
  events.tell({ kind: 'plan.changed', tenant: null, text: `before ${step}` })
  const value = String(step)
  await events.conditions.set({ ...about, value, text: value })
  // nothing new, so nothing to tell
  await events.conditions.set({ ...about, value, text: value })
  writeSync(1, `${step}\n`)
}
