// The long run of the model: npm run model -- --seeds 1000 --from 1; with --at every fault is at that one failpoint, with
// --mishap that one happens after the first life. A history that breaks a promise names the arguments that repeat it.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { FAILPOINTS } from '../../gateway/common/failpoint.ts'
import { MISHAPS } from './mishap.ts'
import { runSeeds } from './seeds.ts'
import { Tally } from './tally.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '500' },
    from: { type: 'string' },
    at: { type: 'string' },
    mishap: { type: 'string' },
    lives: { type: 'string', default: '5' },
    brief: { type: 'boolean', default: false },
    'faults-from': { type: 'string' },
  },
})
const from = values.from === undefined ? randomInt(2 ** 30) : Number(values.from)
const at = FAILPOINTS.find((name) => name === values.at) ?? null
if (at === null && values.at !== undefined) throw new Error(`no failpoint is called ${values.at}`)
const mishap = MISHAPS.find((name) => name === values.mishap) ?? null
if (mishap === null && values.mishap !== undefined) throw new Error(`no mishap is called ${values.mishap}`)
const faultsFrom = (['start', 'steps'] as const).find((moment) => moment === values['faults-from'])
if (faultsFrom === undefined && values['faults-from'] !== undefined) throw new Error('faults come from start or steps')
const tally = new Tally()
const begunMs = performance.now()
const failures = await runSeeds(
  {
    from,
    count: Number(values.seeds),
    options: () => ({
      lives: Number(values.lives),
      thorough: !values.brief,
      at,
      mishap,
      ...(faultsFrom === undefined ? {} : { faultsFrom }),
    }),
    onFailure: (message) => console.error(message),
  },
  tally,
)
const seconds = Math.round((performance.now() - begunMs) / 1000)
console.log(`${tally.toString()}\nseeds from ${from} in ${seconds} s, ${failures.length} broke a promise`)
if (failures.length > 0) process.exitCode = 1
