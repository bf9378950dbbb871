// One history of a machine that runs from the gateway: its guest writes and reads all along, while every party is killed, ended,
// started and cut off by turns. What was flushed has to be there, and everything else is the point's content.
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { askServer } from '../../agent/instant/control.ts'
import { placesIn, type Places } from '../../agent/instant/record.ts'
import type { Dice } from '../support/model-dice.ts'
import { run } from '../support/run.ts'
import { isAlive } from '../support/stand-program.ts'
import type { Host } from '../support/stand-host.ts'
import type { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'
import { Guest } from './guest.ts'
import { DiskModel } from './model.ts'

const KIB = 1024
const SECTOR_BYTES = 512

// prettier-ignore
const STEPS = [
  'write', 'write', 'write', 'flush', 'read', 'read', 'pause',
  'kill server', 'end server', 'restart gateway', 'cut link', 'close link', 'stall link',
  'kill machine', 'quit machine', 'restart host', 'back up',
] as const
type Step = (typeof STEPS)[number]

export interface HistoryOptions {
  readonly stand: Stand
  readonly host: Host
  readonly point: string
  /** The point's content. */
  readonly disks: ReadonlyMap<string, Buffer>
  readonly dice: Dice
  /** Told of each step. */
  readonly onStep: (step: string) => void
}

export class History {
  readonly #options: HistoryOptions
  readonly #places: Places
  readonly #models: ReadonlyMap<string, DiskModel>
  #guest: Guest | null = null

  constructor(options: HistoryOptions) {
    this.#options = options
    this.#places = placesIn(options.stand.folder.join(`history-${options.dice.seed}`))
    this.#models = new Map([...options.disks].map(([name, content]) => [name, new DiskModel(content)]))
  }

  /** Throws where a promise is broken. */
  async run(): Promise<void> {
    const { host, point, dice, onStep } = this.#options
    const speed = dice.pick(['1M', '4M', '16M', '64M'])
    onStep(`begin at ${speed}`)
    await host.done('instant', point, '--to', this.#places.folder, '--speed', speed, '--reconnect-for', '10m')
    try {
      await this.#start()
      for (let steps = 4 + dice.below(9); steps > 0; steps--) await this.#step(dice.pick(STEPS))
      await this.#finish()
    } finally {
      await this.#guest?.[Symbol.asyncDispose]()
      const left = await this.#server()
      if (left !== null) process.kill(left, 'SIGKILL')
      await rm(this.#places.folder, { recursive: true, force: true })
    }
  }

  get #names(): readonly string[] {
    return [...this.#models.keys()]
  }

  async #step(step: Step): Promise<void> {
    const { stand, host, dice, onStep } = this.#options
    onStep(step)
    if (step === 'write') for (let writes = 1 + dice.below(12); writes > 0; writes--) await this.#write()
    if (step === 'flush') await this.#flush()
    if (step === 'read') await this.#read()
    if (step === 'pause') await sleep(dice.below(1500))
    if (step === 'kill server' || step === 'end server') await this.#withoutServer(step)
    if (step === 'restart gateway') {
      await stand.endGateway(dice.pick(['SIGKILL', 'SIGTERM']))
      await this.#meanwhile(() => stand.startGateway())
    }
    if (step === 'cut link') host.link.cut()
    if (step === 'close link') {
      host.link.refuse()
      host.link.cut()
      await this.#meanwhile(async () => {
        await sleep(dice.below(2000))
        await host.link.accept()
      })
    }
    if (step === 'stall link') {
      host.link.stall()
      await this.#meanwhile(async () => {
        await sleep(dice.below(2000))
        host.link.flow()
      })
    }
    if (step === 'kill machine' || step === 'quit machine')
      await this.#restart(step === 'kill machine' ? 'kill' : 'quit')
    if (step === 'restart host') await this.#restart('kill', true)
    if (step === 'back up') await this.#lookAtNodes()
  }

  async #write(): Promise<void> {
    const { dice } = this.#options
    const name = dice.pick(this.#names)
    const model = this.#models.get(name)!
    const sectors = 1 + dice.below(dice.pick([1, 8, 8, 128, 512]))
    const offset = SECTOR_BYTES * dice.below(model.size / SECTOR_BYTES - sectors)
    const bytes = dice.chance(0.2) ? Buffer.alloc(sectors * SECTOR_BYTES) : dice.bytes(sectors * SECTOR_BYTES)
    model.write(offset, bytes)
    await this.#guest!.disk(name).write(offset, bytes)
    if (dice.chance(0.2)) await this.#flush()
  }

  async #flush(): Promise<void> {
    const name = this.#options.dice.pick(this.#names)
    await this.#guest!.disk(name).flush()
    this.#models.get(name)!.flush()
  }

  async #read(): Promise<void> {
    const { dice } = this.#options
    const name = dice.pick(this.#names)
    const current = this.#models.get(name)!.current
    const length = Math.min(current.length, SECTOR_BYTES * (1 + dice.below(2048)))
    const offset = SECTOR_BYTES * dice.below((current.length - length) / SECTOR_BYTES + 1)
    const found = await this.#guest!.disk(name).read(offset, length)
    if (!found.equals(current.subarray(offset, offset + length)))
      throw new Error(`the guest reads what disk ${name} never had at ${offset}, ${length} bytes`)
  }

  /** Goes on writing and reading while something is away; what waits for it is answered when it is back. */
  async #meanwhile(work: () => Promise<void>): Promise<void> {
    const { dice } = this.#options
    const used = (async () => {
      for (let uses = dice.below(6); uses > 0; uses--) await (dice.chance(0.5) ? this.#write() : this.#read())
    })()
    used.catch(() => undefined)
    await work()
    await used
  }

  async #server(): Promise<number | null> {
    return (await askServer(this.#places.control, 'status').catch(() => null))?.pid ?? null
  }

  async #endServer(signal: NodeJS.Signals): Promise<void> {
    const pid = await this.#server()
    if (pid === null) return
    process.kill(pid, signal)
    await eventually(async () => !(await isAlive(pid)))
  }

  async #withoutServer(step: 'kill server' | 'end server'): Promise<void> {
    const { host, dice } = this.#options
    await this.#endServer(step === 'kill server' ? 'SIGKILL' : 'SIGTERM')
    if (!existsSync(this.#places.record)) return
    await this.#meanwhile(async () => {
      await sleep(dice.below(1500))
      if (existsSync(this.#places.record)) await host.run('instant', 'resume', this.#places.folder)
    })
  }

  async #restart(how: 'kill' | 'quit', host = false): Promise<void> {
    if (host) await this.#endServer('SIGKILL')
    await this.#guest!.end(how)
    this.#guest = null
    if (how === 'quit') for (const model of this.#models.values()) model.flush()
    await this.#start()
  }

  /** Starts the machine, and takes what its disks hold for what they may hold. */
  async #start(): Promise<void> {
    const guest = await Guest.start(this.#places.folder, this.#names)
    this.#guest = guest
    for (const [name, model] of this.#models) {
      const wrong = model.crash(await this.#whole(guest, name))
      if (wrong !== null) throw new Error(`disk ${name} after a start: ${wrong}`)
    }
  }

  async #whole(guest: Guest, name: string): Promise<Buffer> {
    const { size } = this.#models.get(name)!
    const pieces: Buffer[] = []
    for (let at = 0; at < size; at += 1024 * KIB)
      pieces.push(await guest.disk(name).read(at, Math.min(1024 * KIB, size - at)))
    return Buffer.concat(pieces)
  }

  /** What backups ask of a machine, in the middle of it. */
  async #lookAtNodes(): Promise<void> {
    for (let looks = 0; looks < 5; looks++) {
      await this.#guest!.control.execute('query-named-block-nodes')
      await sleep(20)
    }
  }

  /** Everything comes in, with a last kill on the way. */
  async #finish(): Promise<void> {
    const { host, dice, onStep, stand } = this.#options
    const { folder, record } = this.#places
    const mishap = dice.pick(['none', 'kill server', 'kill machine', 'restart host', 'off'] as const)
    onStep(`finish, ${mishap}`)
    if (mishap === 'off') {
      await this.#guest!.end('quit')
      this.#guest = null
      for (const model of this.#models.values()) model.flush()
    }
    if (existsSync(record)) {
      const command = host.command('instant', 'finish', folder)
      await sleep(dice.below(4000))
      if (mishap === 'kill server') await this.#endServer('SIGKILL')
      if (mishap === 'kill machine' || mishap === 'restart host')
        await this.#restart('kill', mishap === 'restart host').catch(async (error: unknown) => {
          // the command has taken the place of the machine that was off
          if (!String(error).includes('runs already')) throw error
          onStep('stand-in')
          await command.ended
          await this.#start()
        })
      if (this.#guest !== null) for (let uses = 0; uses < 5; uses++) await this.#write()
      const { code, stderr } = await command.ended
      // one that found nothing to finish came too late
      if (code !== 0 && !stderr.includes('stand alone already')) throw new Error(`finish ended with ${code}: ${stderr}`)
    }
    onStep('alone')
    await stand.endGateway('SIGKILL')
    try {
      if (this.#guest === null) await this.#start()
      for (const [name, model] of this.#models) {
        if (!(await this.#whole(this.#guest!, name)).equals(model.current))
          throw new Error(`disk ${name} is not what it was at the end`)
      }
      const how = dice.pick(['quit', 'kill'] as const)
      await this.#guest!.end(how)
      this.#guest = null
      if (how === 'quit') for (const model of this.#models.values()) model.flush()
      await this.#checkFiles()
    } finally {
      await stand.startGateway()
    }
  }

  async #checkFiles(): Promise<void> {
    if (existsSync(this.#places.private)) throw new Error('something of it is left')
    for (const name of this.#names) {
      const file = path.join(this.#places.folder, `${name}.qcow2`)
      const info = JSON.parse(await run('qemu-img', ['info', '--output=json', file])) as Record<string, unknown>
      if ('backing-filename' in info) throw new Error(`${file} does not stand alone`)
      await run('qemu-img', ['check', '-q', file])
      await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', file, `${file}.raw`])
      const wrong = this.#models.get(name)!.crash(await readFile(`${file}.raw`))
      if (wrong !== null) throw new Error(`the image of disk ${name} at the end: ${wrong}`)
    }
  }
}
