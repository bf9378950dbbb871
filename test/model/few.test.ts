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
    // three short ones and a long one
    const failures = await runSeeds({ from: 7, count: 4, options: mostlyShort }, new Tally())
    expect(failures.join('\n\n')).toBe('')
  },
)
