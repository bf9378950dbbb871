// The process that QEMU writes to, as the agent holds it: started, found again by the next agent, asked.
import * as v from 'valibot'
import { spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../../protocol/errors.ts'
import { within } from '../../protocol/host/within.ts'
import { guardEnvironment } from '../guard-environment.ts'
import {
  answerSchema,
  controlSocket,
  mapSchema,
  pushStateSchema,
  writerSocket,
  type Ask,
  type PushOrder,
  type PushState,
} from './control.ts'
import { endProcess, type ProcessMark } from '../process-mark.ts'
import type { MapRow } from './pushed-disk.ts'

/** How long it may take to start, in milliseconds. */
const START_LIMIT_MS = 30_000

/** How long it may take to answer what it need not wait for, in milliseconds. */
const ANSWER_LIMIT_MS = 30_000

type Question = Ask extends infer One ? (One extends unknown ? Omit<One, 'id'> : never) : never

const gone = (): VarveError => new VarveError('LEASE_LOST', 'the process that QEMU writes the backup to has ended')

const parseLine = (line: string): v.InferOutput<typeof answerSchema> | null => {
  try {
    return v.parse(answerSchema, JSON.parse(line))
  } catch {
    return null
  }
}

const dial = (path: string): Promise<Socket | null> =>
  new Promise((resolve) => {
    const socket = createConnection({ path })
    socket.once('connect', () => resolve(socket))
    socket.once('error', () => resolve(null))
  })

export class PushServer implements Disposable {
  /** Resolves when it has ended. */
  readonly lost: Promise<VarveError>
  readonly #socket: Socket
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>()
  #lastId = 0
  #failure: VarveError | null = null
  readonly #answerLimitMs: number
  /** The process, once it has said so. */
  #process: ProcessMark | null = null

  constructor(socket: Socket, answerLimitMs = ANSWER_LIMIT_MS) {
    this.#socket = socket
    this.#answerLimitMs = answerLimitMs
    const losing = Promise.withResolvers<VarveError>()
    this.lost = losing.promise
    socket.on('error', () => undefined)
    socket.once('close', () => {
      const failure = (this.#failure ??= gone())
      for (const { reject } of this.#waiting.values()) reject(failure)
      this.#waiting.clear()
      losing.resolve(failure)
    })
    const lines = createInterface({ input: socket })
    // an error of the socket is told here, too
    lines.on('error', () => undefined)
    lines.on('line', (line) => this.#take(line))
  }

  /** How its disks are. LEASE_LOST. */
  async state(): Promise<PushState> {
    const state = v.parse(pushStateSchema, await this.#askSoon({ ask: 'state' }))
    this.#process = state.process
    return state
  }

  /** The map of a disk from `from` on, at least a part of it, once that is final. LEASE_LOST. */
  async map(disk: number, from: number): Promise<readonly MapRow[]> {
    return v.parse(mapSchema, await this.#ask({ ask: 'map', disk, from }))
  }

  /** Tells that QEMU's job of a disk has ended well, and how much it must have written, in bytes of whole blocks. */
  async seal(disk: number, writtenBytesMin: number): Promise<void> {
    await this.#askSoon({ ask: 'seal', disk, writtenBytesMin })
  }

  /** Tells up to where a disk is durable; best effort. */
  discard(disk: number, to: number): void {
    this.#askSoon({ ask: 'discard', disk, to }).catch(() => undefined)
  }

  /** Ends it, once nothing in QEMU writes any more. */
  async end(): Promise<void> {
    this.#ask({ ask: 'end' }).catch(() => undefined)
    await within(this.lost, ANSWER_LIMIT_MS)
  }

  /** Lets it be; it goes on. */
  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  async #askSoon(question: Question): Promise<unknown> {
    const asked = this.#ask(question).then((answer) => ({ answer }))
    const answered = await within(asked, this.#answerLimitMs)
    if (answered !== null) return answered.answer
    this.#failure ??= new VarveError('LEASE_LOST', 'the process that QEMU writes the backup to does not answer')
    // one that hangs keeps guests' writes waiting; its place can be taken once it has gone, which closes the socket
    if (this.#process === null || !endProcess(this.#process)) this.#socket.destroy()
    throw this.#failure
  }

  #ask(question: Question): Promise<unknown> {
    if (this.#failure !== null) return Promise.reject(this.#failure)
    const id = ++this.#lastId
    const waiting = Promise.withResolvers<unknown>()
    this.#waiting.set(id, waiting)
    this.#socket.write(`${JSON.stringify({ id, ...question })}\n`)
    return waiting.promise
  }

  #take(line: string): void {
    const told = parseLine(line)
    // whoever answers so is not that process
    if (told === null) return void this.#socket.destroy()
    const { id, answer, broken } = told
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (broken === undefined) waiting?.resolve(answer)
    else waiting?.reject(new VarveError('LEASE_LOST', `a disk that QEMU writes cannot be taken: ${broken}`))
  }
}

/** The one of a lease that an earlier agent has started; null where it has ended. */
export const joinPushServer = async (socketFolder: string, answerLimitMs?: number): Promise<PushServer | null> => {
  const socket = await dial(controlSocket(socketFolder))
  return socket === null ? null : new PushServer(socket, answerLimitMs)
}

/** Removes the sockets of one that is dead. */
export const removeSockets = async (socketFolder: string): Promise<void> => {
  for (const path of [writerSocket(socketFolder), controlSocket(socketFolder)]) await rm(path, { force: true })
}

/** Starts one in folders that are there; INTERNAL. */
export const startPushServer = async (order: PushOrder): Promise<PushServer> => {
  const { socketFolder } = order
  await removeSockets(socketFolder)
  const program = fileURLToPath(new URL('./server-process.ts', import.meta.url))
  const child = spawn(process.execPath, ['--max-semi-space-size=2', program, socketFolder], {
    detached: true,
    cwd: '/',
    stdio: ['pipe', 'pipe', 'ignore'],
    env: guardEnvironment(),
  })
  child.unref()
  child.stdin.on('error', () => undefined)
  child.stdin.write(`${JSON.stringify(order)}\n`)
  const { promise, resolve } = Promise.withResolvers<string>()
  let said = ''
  child.once('error', ({ message }) => resolve(message))
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
    if (said.includes('\n')) resolve(said)
  })
  child.stdout.once('end', () => resolve(said))
  const line = (await within(promise, START_LIMIT_MS)) ?? ''
  child.stdout.destroy()
  child.stdin.destroy()
  const server = line.startsWith('ready') ? await joinPushServer(socketFolder) : null
  if (server !== null) return server
  child.kill('SIGKILL')
  throw new VarveError('INTERNAL', `the process that QEMU is to write to did not start: ${line.trim() || 'no answer'}`)
}
