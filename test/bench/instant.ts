// A machine that runs before it is restored, beside a restore and a start: until a real guest's first answer, and until its disks
// need the gateway no more.
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { GuestChannel } from '../../agent/guest/channel.ts'
import { buildGuest, type GuestImage } from '../rig/build-guest.ts'
import { bootGuest, kernelArguments, MEMORY_MIB } from '../rig/guest.ts'
import { run as runProgram } from '../rig/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'
import { requireSpace } from './host.ts'
import { benchImage } from './image.ts'
import { gibibytes } from './report.ts'
import { judge, type Report, type Scenario, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const GIB = 2 ** 30
const CONTENT_BYTES = 4 * GIB
const QUICK_CONTENT_BYTES = GIB

/** What a file system takes beside its one large file. */
const ROOM_BYTES = GIB / 2

const SECOND_BYTES = 64 * 2 ** 20

const SPACE_FACTOR = 6

interface Round {
  /** Seconds until the guest agent answers. */
  readonly instant: number
  readonly restored: number
  /** Seconds until the disks stand alone, with the guest writing meanwhile. */
  readonly alone: number
  /** Seconds of the restore by itself. */
  readonly restore: number
}

const secondsSince = (startedMs: number): number => (performance.now() - startedMs) / 1000

const answers = (socketPath: string): Promise<boolean> =>
  eventually(async () => {
    try {
      await using _channel = await GuestChannel.open({ socketPath })
      return true
    } catch {
      return false
    }
  })

const GUEST = '-nodefaults -no-user-config -no-reboot -cpu max -smp 1 -device virtio-serial-pci'.split(' ')

class InstantRounds {
  readonly #context: ScenarioContext
  readonly #host: Host
  readonly #guest: GuestImage
  readonly #point: string
  /** A folder with a short path. */
  readonly #sockets: string

  constructor(context: ScenarioContext, host: Host, guest: GuestImage, point: string, sockets: string) {
    this.#context = context
    this.#host = host
    this.#guest = guest
    this.#point = point
    this.#sockets = sockets
  }

  async run(): Promise<Round> {
    const { say } = this.#context
    const { instant, alone } = await this.#instant()
    say(
      `${instant.toFixed(1)} s until the guest of an instant restore answers, ${alone.toFixed(1)} s until it is alone`,
    )
    const { restore, restored } = await this.#restore()
    say(`${restored.toFixed(1)} s until the guest of a restore answers, ${restore.toFixed(1)} s of them the restore`)
    return { instant, alone, restore, restored }
  }

  async #instant(): Promise<Pick<Round, 'instant' | 'alone'>> {
    const folder = path.join(this.#context.folder, 'instant')
    const agent = path.join(this.#sockets, 'ga')
    const startedMs = performance.now()
    await this.#host.done('instant', this.#point, '--to', folder)
    const chardev = ['-chardev', `socket,id=ga,path=${agent},server=on,wait=off`]
    const port = [
      '-device',
      'virtserialport,chardev=ga,name=org.qemu.guest_agent.0',
      '-serial',
      `file:${path.join(this.#sockets, 'console')}`,
    ]
    const boot = ['-kernel', this.#guest.kernel, '-initrd', this.#guest.initrd, '-append', kernelArguments({})]
    const memory = ['-m', String(MEMORY_MIB)]
    await promisify(execFile)(path.join(folder, 'start.sh'), [...GUEST, ...memory, ...chardev, ...port, ...boot])
    const pid = Number(await readFile(path.join(folder, 'qemu.pid'), 'utf8'))
    try {
      await answers(agent)
      const instant = secondsSince(startedMs)
      await this.#host.done('instant', 'finish', folder)
      return { instant, alone: secondsSince(startedMs) }
    } finally {
      // one that has ended by itself must not hide why
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // it is gone
      }
      await rm(folder, { recursive: true, force: true })
    }
  }

  async #restore(): Promise<Pick<Round, 'restore' | 'restored'>> {
    const folder = path.join(this.#context.folder, 'restore')
    await mkdir(folder)
    const guestAgent = path.join(this.#sockets, 'ga2')
    const startedMs = performance.now()
    const disks = []
    for (const id of ['vda', 'vdb']) {
      const file = path.join(folder, `${id}.qcow2`)
      await this.#host.done('restore', this.#point, '--disk', id, '--to', file)
      disks.push({ id, file, format: 'qcow2' as const })
    }
    const restore = secondsSince(startedMs)
    try {
      await using _guest = await bootGuest({ image: this.#guest, folder, name: 'restored', disks, guestAgent })
      await answers(guestAgent)
      return { restore, restored: secondsSince(startedMs) }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
}

/** A disk with a file system and one large file of programs and libraries, and an empty one. */
const makeDisks = async ({ cache, folder, quick, signal }: ScenarioContext): Promise<string[]> => {
  const size = quick ? QUICK_CONTENT_BYTES : CONTENT_BYTES
  const { raw } = await benchImage(cache, size, signal)
  const content = path.join(folder, 'content')
  await mkdir(content)
  await runProgram('cp', ['--reflink=auto', raw, path.join(content, 'large')])
  const disk = path.join(folder, 'vda.raw')
  const options = '-q -F -t ext4 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0'.split(' ')
  await runProgram('mke2fs', [...options, '-d', content, disk, `${(size + ROOM_BYTES) / 1024}k`])
  await rm(content, { recursive: true })
  const second = path.join(folder, 'vdb.raw')
  await runProgram('mke2fs', [...options, second, `${SECOND_BYTES / 1024}k`])
  return [disk, second]
}

const METHOD = [
  `A real Linux guest under TCG whose kernel and initial file system are QEMU's own, which mounts two disks of the restore point and
then writes files to them without a pause. Gateway, agent and QEMU are on one machine, by WebSocket on loopback; the page cache is
warm. Times begin with the command and end with the first answer of the guest agent; "alone" is when "instant finish" has ended,
which began with the guest's first answer.`,
]

export const run: Scenario['run'] = async (context): Promise<Report> => {
  const { cache, folder, quick, rounds, say } = context
  const size = (quick ? QUICK_CONTENT_BYTES : CONTENT_BYTES) + ROOM_BYTES
  await requireSpace(cache, SPACE_FACTOR * size)
  say('making the disks and the guest, where they are not there from an earlier run')
  const guest = await buildGuest()
  const [disk, second] = await makeDisks(context)
  await using stand = await Stand.start()
  const disks = `disks = [{ name = "vda", path = "${disk}", format = "raw" }, { name = "vdb", path = "${second}", format = "raw" }]`
  const host = await stand.addHost({ name: 'bench', settings: { tables: ['[[machine]]', 'name = "db1"', disks] } })
  await host.start()
  const { point } = await host.backup('db1')
  await rm(disk!)
  const measured: Round[] = []
  const inFolder = { ...context, folder: path.join(folder, 'rounds') }
  await mkdir(inFolder.folder)
  for (let round = 0; round < rounds; round++)
    measured.push(await new InstantRounds(inFolder, host, guest, point, stand.folder.path).run())
  const of = (name: keyof Round): number => median(measured.map((round) => round[name]))
  return {
    tables: [
      {
        title: `A machine with ${gibibytes(size)}, seconds, medians of ${rounds}`,
        heading: ['', 'first answer', 'needs the gateway no more'],
        rows: [
          ['instant', of('instant').toFixed(1), of('alone').toFixed(1)],
          ['restore and start', of('restored').toFixed(1), of('restore').toFixed(1)],
        ],
      },
    ],
    goals: [
      judge('first answer, instant / restore and start', of('instant') / of('restored'), null),
      judge('alone, instant / restore', of('alone') / of('restore'), null),
    ],
    notes: METHOD,
    details: measured,
  }
}
