// A drill: the machine starts on overlays over the point, which are gone with it; what comes of it is a verdict.
import { once } from 'node:events'
import { readFile, stat, statfs } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../protocol/errors.ts'
import { durationText } from '../../protocol/host/duration.ts'
import { sizeText } from '../../protocol/host/size.ts'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import { within } from '../../protocol/host/within.ts'
import type { FailedRead } from '../export/connection.ts'
import { makeOverlay } from '../instant/overlay.ts'
import { QmpClient } from '../qmp/client.ts'
import type { QmpEvent } from '../qmp/message.ts'
import type { DrillCheck } from './check.ts'
import { COMMAND_SOCKET, GUEST_AGENT_SOCKET, QMP_SOCKET, SERIAL_SOCKET } from './drill-words.ts'
import { toldText, untilEvidence, type Evidence } from './evidence.ts'
import { pictureOf, SCREEN_BYTES_MAX } from './screen.ts'
import { SerialLog } from './serial-log.ts'
import { CONSOLE_SOCKET, SerialPort } from './serial-port.ts'
import { startQemu, type DrillQemu } from './start-qemu.ts'

/** How long QEMU may take to open its sockets, in milliseconds. */
const START_LIMIT_MS = 60_000

/** How often the sockets are tried, and what was written is measured, in milliseconds. */
const LOOK_MS = 100
const MEASURE_MS = 500

/** How long the picture may take, in milliseconds. */
const SCREEN_LIMIT_MS = 10_000

/** What is left free of the disk on which a drill writes, in bytes: 1 GiB. */
const RESERVE_BYTES = 1024 ** 3

/** How much longer than what a guest may write a file of QEMU's may be, in bytes: tables of its images, and a picture. */
const HEADROOM_BYTES = 64 * 1024 ** 2

/** The export within the folder, by which QEMU finds it. */
export const NBD_SOCKET = 'nbd.sock'

const SCREEN_FILE = 'screen.ppm'

export interface DrillDisk {
  readonly name: string
  readonly size: number
  /** Of its overlay, in the folder. */
  readonly file: string
}

export interface DrillPlan {
  readonly program: string
  readonly words: readonly string[]
  readonly disks: readonly DrillDisk[]
  readonly check: DrillCheck
  readonly bootLimitMs: number
  /** Bytes that the guest may write, of all disks together. */
  readonly writeMax: number
}

export interface DrillResult {
  readonly passed: boolean
  /** One sentence. */
  readonly reason: string
  /** Since `run` began, in milliseconds. */
  readonly firmwareMs: number | null
  readonly evidenceMs: number | null
  readonly bytesWritten: number
  readonly log: string
  readonly picture: Uint8Array | null
}

/** Why a machine can prove nothing any more. */
class Over extends Error {}

export class DrillRun {
  readonly #folder: string
  readonly #plan: DrillPlan
  readonly #startedMs = performance.now()
  readonly #serial = new SerialLog()
  readonly #over = Promise.withResolvers<never>()
  #firmwareMs: number | null = null
  #resets = 0
  #bytesWritten = 0

  constructor(folder: string, plan: DrillPlan) {
    this.#folder = folder
    this.#plan = plan
    this.#over.promise.catch(() => undefined)
  }

  /** What the guest could not read: content that is lost fails the drill, a gateway that is away ends it without a verdict. */
  failedRead({ disk, offset, error }: FailedRead): void {
    const lost = ['DATA_DAMAGED', 'CHUNK_INVALID', 'TREE_UNREADABLE', 'NOT_FOUND'].includes(error.code)
    const why = `disk ${disk} cannot be read at ${offset}: ${error.message}`
    this.#over.reject(lost ? new Over(why) : error)
  }

  /** Rejects with what prevents a verdict: QMP_UNAVAILABLE where QEMU does not start, and the signal's reason. */
  async run(signal: AbortSignal): Promise<DrillResult> {
    const { disks, program, words, writeMax } = this.#plan
    const reconnect = { reconnectMs: START_LIMIT_MS }
    for (const disk of disks)
      await makeOverlay({ ...disk, file: path.join(this.#folder, disk.file) }, { nbd: NBD_SOCKET }, reconnect)
    const fileBytesMax = Math.max(writeMax, SCREEN_BYTES_MAX) + HEADROOM_BYTES
    await using qemu = await startQemu(program, words, { folder: this.#folder, fileBytesMax })
    await using resources = new AsyncDisposableStack()
    const { control, evidence } = await this.#judged(qemu, signal, resources)
    const evidenceMs = evidence.passed ? this.#elapsedMs : null
    await this.#measure()
    const picture = control === null ? null : await this.#picture(control)
    signal.throwIfAborted()
    const [firmwareMs, bytesWritten, log] = [this.#firmwareMs, this.#bytesWritten, this.#serial.text]
    return { ...evidence, firmwareMs, evidenceMs, bytesWritten, log, picture }
  }

  /** Starts the machine and waits for the evidence; what is lost of its disks may prevent both. */
  async #judged(
    qemu: DrillQemu,
    signal: AbortSignal,
    resources: AsyncDisposableStack,
  ): Promise<{ readonly control: QmpClient | null; readonly evidence: Evidence }> {
    let control: QmpClient | null = null
    try {
      const serial = await this.#connect(SERIAL_SOCKET, qemu, signal, resources)
      const port = resources.use(await SerialPort.open(this.#folder, serial, this.#serial))
      control = await this.#control(qemu, signal, resources)
      control.subscribe((event) => this.#follow(event))
      await control.execute('cont')
      this.#firmwareMs = this.#elapsedMs
      return { control, evidence: await this.#evidence(qemu, port, signal) }
    } catch (thrown) {
      if (!(thrown instanceof Over)) throw thrown
      return { control, evidence: { passed: false, reason: thrown.message } }
    }
  }

  get #elapsedMs(): number {
    return Math.round(performance.now() - this.#startedMs)
  }

  /** The socket that QEMU opens; QMP_UNAVAILABLE with what it said where it ends instead. */
  async #tried<R>(qemu: DrillQemu, signal: AbortSignal, attempt: () => Promise<R>): Promise<R> {
    let said: string | null = null
    void qemu.ended.then((text) => (said = text))
    const deadlineMs = performance.now() + START_LIMIT_MS
    for (;;) {
      signal.throwIfAborted()
      try {
        return await attempt()
      } catch (thrown) {
        // firmware is read before there is a socket
        await Promise.race([this.#over.promise, sleep(LOOK_MS)])
        if (said !== null)
          throw new VarveError(
            'QMP_UNAVAILABLE',
            `QEMU does not start the machine: ${toldText(said) || 'it said nothing'}`,
          )
        if (performance.now() > deadlineMs) throw thrown
      }
    }
  }

  async #connect(name: string, qemu: DrillQemu, signal: AbortSignal, resources: AsyncDisposableStack): Promise<Socket> {
    const at = resources.use(await SocketPath.of(this.#folder, name))
    return await this.#tried(qemu, signal, async () => {
      const socket = createConnection({ path: at.path }).on('error', () => undefined)
      await once(socket, 'connect')
      resources.defer(() => void socket.destroy())
      return socket
    })
  }

  async #control(qemu: DrillQemu, signal: AbortSignal, resources: AsyncDisposableStack): Promise<QmpClient> {
    const at = resources.use(await SocketPath.of(this.#folder, QMP_SOCKET))
    return resources.use(await this.#tried(qemu, signal, () => QmpClient.connect({ path: at.path })))
  }

  #follow({ event, data }: QmpEvent): void {
    if (event === 'RESET' && data['guest'] === true) this.#resets++
    if (event === 'GUEST_PANICKED') this.#over.reject(new Over('the guest panicked'))
    if (event === 'SHUTDOWN') this.#over.reject(new Over(`the guest shut down${this.#hints}`))
    if (event === 'BLOCK_IO_ERROR' && data['operation'] === 'write')
      this.#over.reject(new Over('a write of the guest could not be kept: the host has no room for it (--scratch)'))
  }

  get #hints(): string {
    return this.#resets === 0 ? '' : `, after it had started anew ${this.#resets} times`
  }

  /** Until there is evidence, or there can be none any more. */
  async #evidence(qemu: DrillQemu, port: SerialPort, signal: AbortSignal): Promise<Evidence> {
    const { check, bootLimitMs } = this.#plan
    const over = new AbortController()
    const until = AbortSignal.any([signal, over.signal])
    await using agent = await SocketPath.of(this.#folder, GUEST_AGENT_SOCKET)
    if (check.kind === 'command') await port.listen()
    const seen = { serial: this.#serial, guestAgent: agent.path, environment: this.#environment, signal: until }
    const late = sleep(bootLimitMs, null, { signal: until }).then(() => {
      throw new Over(this.#lateReason)
    })
    const gone = qemu.ended.then(async (said) => {
      await this.#measure()
      throw new Over(`QEMU ended${said === '' ? '' : `: ${toldText(said)}`}`)
    })
    const looked = untilEvidence(check, seen)
    const measured = this.#watchWrites(until)
    const all = [looked, late, gone, measured, this.#over.promise] as const
    for (const one of all) one.catch(() => undefined)
    try {
      return await Promise.race(all)
    } catch (thrown) {
      signal.throwIfAborted()
      throw thrown
    } finally {
      over.abort()
      await Promise.allSettled([looked, measured])
    }
  }

  get #environment(): Record<string, string> {
    const at = (name: string): string => path.join(this.#folder, name)
    return {
      VARVE_QMP: at(COMMAND_SOCKET),
      VARVE_SERIAL: at(CONSOLE_SOCKET),
      VARVE_GUEST_AGENT: at(GUEST_AGENT_SOCKET),
    }
  }

  get #lateReason(): string {
    const { check, bootLimitMs } = this.#plan
    const limit = durationText(bootLimitMs)
    const what = {
      'guest-agent': `its guest agent did not answer within ${limit}`,
      serial: `its serial console did not say what --check waits for within ${limit}`,
      command: `the command of --check did not end within ${limit}`,
    }[check.kind]
    const last = toldText(this.#serial.text.trimEnd().split('\n').at(-1) ?? '')
    return `${what}${this.#hints}; the console ${last === '' ? 'said nothing' : `ends with "${last}"`}`
  }

  /** Ends a drill whose guest writes too much, or onto a disk that has no room for others any more. */
  async #watchWrites(signal: AbortSignal): Promise<never> {
    for (;;) {
      await this.#measure()
      if (this.#bytesWritten > this.#plan.writeMax)
        throw new Over(`the guest wrote more than ${sizeText(this.#plan.writeMax)} (--write-max)`)
      const { bavail, bsize } = await statfs(this.#folder)
      if (bavail * bsize < RESERVE_BYTES)
        throw new VarveError(
          'SCRATCH_LOW',
          `${this.#folder} has less than ${sizeText(RESERVE_BYTES)} free: name another folder with --scratch`,
        )
      await sleep(MEASURE_MS, undefined, { signal })
    }
  }

  async #measure(): Promise<void> {
    let bytes = 0
    for (const { file } of this.#plan.disks) bytes += (await stat(path.join(this.#folder, file))).blocks * 512
    this.#bytesWritten = bytes
  }

  /** Null where the machine has no screen, or cannot show it any more. */
  async #picture(control: QmpClient): Promise<Uint8Array | null> {
    const file = path.join(this.#folder, SCREEN_FILE)
    try {
      await within(
        control.execute('screendump', { filename: SCREEN_FILE }, { timeoutMs: SCREEN_LIMIT_MS }),
        SCREEN_LIMIT_MS,
      )
      const { size } = await stat(file)
      return size > SCREEN_BYTES_MAX ? null : pictureOf(await readFile(file))
    } catch {
      // it is no evidence
      return null
    }
  }
}
