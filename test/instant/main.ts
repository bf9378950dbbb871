// Many histories of machines that run from the gateway: npm run instant-histories -- --seeds 50 --from 1, with --libvirt of a
// domain. One that breaks a promise names the arguments that repeat it.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { Dice } from '../support/model-dice.ts'
import { Stand } from '../support/stand.ts'
import { DomainHistory } from './domain-history.ts'
import { DomainStand } from './domain-stand.ts'
import { History } from './history.ts'

const MIB = 1024 * 1024

/** How many bytes the disks of a history's machine have. */
const DISKS = { vda: 24 * MIB + 512, vdb: 3 * MIB } as const

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '50' },
    from: { type: 'string' },
    libvirt: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
})
const from = values.from === undefined ? randomInt(2 ** 30) : Number(values.from)
const count = Number(values.seeds)

const dice = new Dice(16)
/** Data, zeroes, and data again. */
const contentOf = (size: number): Buffer => {
  const content = dice.bytes(size)
  content.fill(0, Math.floor(size / 3), Math.floor(size / 2))
  return content
}
const disks = new Map(Object.entries(DISKS).map(([name, size]) => [name, contentOf(size)]))

/** One of them, and how the next one can begin where it has failed. */
interface Place extends AsyncDisposable {
  readonly stand: Stand
  readonly history: (dice: Dice, onStep: (step: string) => void) => { run(): Promise<void> }
}

const ofDomains = async (): Promise<Place> => {
  const at = await DomainStand.start(disks)
  const history: Place['history'] = (own, onStep) => new DomainHistory({ at, disks, dice: own, onStep })
  return { stand: at.stand, history, [Symbol.asyncDispose]: () => at[Symbol.asyncDispose]() }
}

const ofPlainQemu = async (): Promise<Place> => {
  const stand = await Stand.start()
  const host = await stand.addHost()
  await host.addMachine(
    'db1',
    [...disks].map(([id, content]) => ({ id, format: 'qcow2', size: content.length, content })),
  )
  await host.start()
  const { point } = await host.backup('db1')
  const history: Place['history'] = (own, onStep) => new History({ stand, host, point, disks, dice: own, onStep })
  return { stand, history, [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose]() }
}

await using place = await (values.libvirt ? ofDomains() : ofPlainQemu())
const { stand } = place
const steps = new Map<string, number>()
let failures = 0
const begunMs = performance.now()
for (let seed = from; seed < from + count; seed++) {
  const path: string[] = []
  const onStep = (step: string): void => {
    path.push(step)
    steps.set(step, (steps.get(step) ?? 0) + 1)
    if (values.verbose) console.log(`  ${step}`)
  }
  try {
    await place.history(new Dice(seed), onStep).run()
    console.log(`${seed}: ${path.join(', ')}`)
  } catch (error) {
    failures++
    console.error(
      `npm run instant-histories -- ${values.libvirt ? '--libvirt ' : ''}--from ${seed} --seeds 1 repeats: ${path.join(', ')}\n`,
      error,
    )
    if (!stand.hasGateway) await stand.startGateway()
  }
}
const seconds = Math.round((performance.now() - begunMs) / 1000)
console.log([...steps].map(([step, times]) => `${step} ${times}`).join(', '))
console.log(`${count} histories in ${seconds} s, ${failures} broke a promise`)
if (failures > 0) process.exitCode = 1
