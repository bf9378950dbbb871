// A few histories of a datastore that is killed, fails and is damaged; model.test.ts has many, at every failpoint.
import { expect, test } from 'vitest'
import { mostlyShort, runSeeds } from './seeds.ts'
import { Tally } from './tally.ts'

/** What only a history that hangs reaches, in milliseconds. */
const LIMIT_MS = 3_600_000

test(
  'whatever fails, dies or is damaged, what was acknowledged is there and right',
  { timeout: LIMIT_MS },
  async () => {
    const failures = await runSeeds({ from: 1, count: 10, options: mostlyShort }, new Tally())
    expect(failures.join('\n\n')).toBe('')
  },
)
