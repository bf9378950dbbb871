// Takes the pictures of the console that README shows: a gateway with real restore points, given a past of some weeks.
//
// Usage: node test/screenshots/main.ts [FOLDER]   (docs by default)   Exit codes: 0 done, 1 failed.
import { mkdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makePast, type Past } from '../gateway/console/made-history.ts'
import { RealMachine } from '../gateway/console/real-machine.ts'
import { ConsoleStand } from '../gateway/console/stand.ts'
import { settled } from '../gateway/console/tours.ts'
import { runGateway } from '../gateway/program.ts'

const MIB = 1024 * 1024
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Largest picture, in bytes. */
const PICTURE_BYTES_MAX = 150 * 1024

/** As wide as a desk's screen, and no higher than a README should be. */
const SIZE = { width: 1440, height: 720 }

const DISK_BYTES = 256 * MIB
const DAYS = 28

interface Picture {
  readonly name: string
  readonly place: string
  readonly theme: 'light' | 'dark'
}

/** Writes here and there, so that the change map has something to show. */
const change = async (machine: RealMachine, round: number): Promise<void> => {
  for (let at = 0; at < 14; at++) {
    const offset = ((at * 37 + round * 53) % 240) * MIB + (at % 3) * 65_536
    await machine.qemu.guestIo('vda', `write -P ${(round * 14 + at) % 251} ${offset} ${(1 + (at % 5)) * 131_072}`)
  }
  await machine.qemu.guestIo('vda', `write -z ${(200 + round) * MIB} ${MIB}`)
}

const nightly = (days: number, missing: readonly number[] = [], offsetMs = 5 * HOUR_MS): number[] =>
  Array.from({ length: days }, (_, day) => day * DAY_MS + offsetMs).filter((_, day) => !missing.includes(day))

/** Machines without a QEMU of their own, with the past that each is given. */
const others = (): Record<string, Past> => ({
  'web-01': { like: 'db1', agesMs: nightly(DAYS, [], 4.2 * HOUR_MS) },
  'web-02': { like: 'db1', agesMs: nightly(DAYS, [3], 4.4 * HOUR_MS) },
  'mail-01': { like: 'db1', agesMs: nightly(DAYS, [9, 10], 3.1 * HOUR_MS) },
  'ldap-01': { like: 'db1', agesMs: nightly(17, [], 6 * HOUR_MS) },
  'shop-01': { like: 'db1', agesMs: nightly(DAYS, [0, 1, 2], 4 * HOUR_MS) },
  'shop-02': { like: 'db1', agesMs: nightly(DAYS, [0], 4.8 * HOUR_MS) },
  'git-01': { like: 'db1', agesMs: nightly(DAYS, [14], 2.2 * HOUR_MS) },
  'ci-01': { like: 'db1', agesMs: nightly(12, [], 2.6 * HOUR_MS) },
  'wiki-01': { like: 'db1', agesMs: nightly(DAYS, [], 7.7 * HOUR_MS) },
})

const BARE = ['test-vm', 'win-2022']

const furnish = async (stand: ConsoleStand, resources: AsyncDisposableStack): Promise<string> => {
  const db1 = resources.use(await RealMachine.start(stand, { name: 'db1', diskBytes: DISK_BYTES }))
  let point = ''
  for (let round = 0; round < 6; round++) {
    await change(db1, round)
    point = await db1.backUp()
  }
  const pasts: Record<string, Past> = { db1: { like: 'db1', agesMs: nightly(6, [], 3.6 * HOUR_MS) }, ...others() }
  const names = [...Object.keys(others()), ...BARE]
  const identity = await stand.gateway.enrolAgent(stand.folder.join('h2'))
  await stand.gateway.connectAgent(identity, names)
  const keep = ['--keep-daily', '30', '--keep-monthly', '12']
  const at = ['--data', stand.gateway.folder, '--tenant', 'acme']
  const said = await runGateway([
    'plan',
    'set',
    'nightly',
    '--schedule',
    '30 2 * * *',
    '--rpo',
    '26h',
    ...keep,
    '--cover-others',
    ...at,
  ])
  if (said.code !== 0) throw new Error(said.stderr)
  await stand.restartGateway(async () => makePast(stand.gateway.folder, pasts))
  await stand.gateway.connectAgent(identity, names)
  await runGateway(['machine', 'exclude', 'test-vm', '--reason', 'rebuilt from its image every night', ...at])
  return point
}

const take = async (stand: ConsoleStand, folder: string, { name, place, theme }: Picture): Promise<void> => {
  const { page } = await stand.open('owner', place, { theme, size: SIZE })
  await settled(page)
  // what comes with the next frames: counts, pictures
  await page.waitForLoadState('networkidle')
  await sleep(1500)
  const file = path.join(folder, `console-${name}.png`)
  await writeFile(file, await page.screenshot())
  const { size } = await stat(file)
  console.log(`${path.relative('.', file)}  ${Math.round(size / 1024)} KiB`)
  if (size > PICTURE_BYTES_MAX) throw new Error(`${file} has ${size} bytes: at most ${PICTURE_BYTES_MAX}`)
  await page.context().close()
}

const folder = path.resolve(process.argv[2] ?? path.join(import.meta.dirname, '../../docs'))
await mkdir(folder, { recursive: true })
await using resources = new AsyncDisposableStack()
const stand = resources.use(await ConsoleStand.start())
const point = await furnish(stand, resources)
const pictures: readonly Picture[] = [
  { name: 'protection', place: '#/protection', theme: 'light' },
  { name: 'days', place: '#/days', theme: 'dark' },
  { name: 'machine', place: '#/machine/db1', theme: 'light' },
  { name: 'changes', place: `#/changes/db1?to=${point}`, theme: 'dark' },
]
for (const picture of pictures) await take(stand, folder, picture)
