// One connection to a QEMU guest agent: delimited sync first, then one command at a time.
import * as v from 'valibot'
import { randomInt } from 'node:crypto'
import { createConnection, type Socket } from 'node:net'
import { VarveError } from '../../protocol/errors.ts'

/** How long connecting and the delimited sync together may take, in milliseconds. */
export const GUEST_SYNC_LIMIT_MS = 3_000

/** How long a command other than a freeze may take, in milliseconds. */
export const GUEST_COMMAND_LIMIT_MS = 10_000

/** Most bytes that may arrive between two answers that are understood. */
export const GUEST_ANSWER_BYTES_MAX = 256 * 1024

/** Both sides send this byte, never part of UTF-8, to say that a new conversation begins. */
const SYNC_BYTE = 0xff

const answerSchema = v.union([
  v.object({ return: v.unknown() }),
  v.object({ error: v.object({ class: v.optional(v.string(), ''), desc: v.optional(v.string(), '') }) }),
])
type Answer = v.InferOutput<typeof answerSchema>

export interface GuestChannelOptions {
  readonly socketPath: string
  readonly timeoutMs?: number
  /** Closes the channel when it aborts. */
  readonly signal?: AbortSignal | undefined
}

export interface GuestCommandOptions {
  readonly timeoutMs?: number
  /** Of `guest-fsfreeze-freeze-list`: the file systems to freeze, by their mount points in the guest. */
  readonly mountpoints?: readonly string[]
  /** Thrown when no answer comes in time. */
  readonly late?: VarveError
  /** Leaves the channel open when no answer comes in time; only `resync` may use it then. */
  readonly keepOpen?: boolean
}

const unavailable = (message: string, cause?: unknown): VarveError => {
  const errno = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : null
  return new VarveError('GUEST_AGENT_UNAVAILABLE', message, { details: { errno }, cause })
}

const codeOf = (error: NodeJS.ErrnoException): string => error.code ?? error.message

const parse = (line: string): Answer | null => {
  try {
    const checked = v.safeParse(answerSchema, JSON.parse(line))
    return checked.success ? checked.output : null
  } catch {
    return null
  }
}

/** A synchronised channel to a guest agent. After a time limit it is closed: its answers could no longer be told apart. */
export class GuestChannel implements AsyncDisposable {
  readonly #path: string
  readonly #socket: Socket
  #text = ''
  #accept: ((answer: Answer) => void) | null = null
  #refuse: ((error: VarveError) => void) | null = null
  #failure: VarveError | null = null
  #forget: () => void = () => undefined

  private constructor(path: string, socket: Socket) {
    this.#path = path
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (cause) =>
      this.#end(unavailable(`the guest agent's socket ${path} failed (${codeOf(cause)})`, cause)),
    )
    socket.on('close', () => this.#end(unavailable(`the guest agent's socket ${path} was closed`)))
  }

  /** Connects and synchronises within `timeoutMs`; GUEST_AGENT_UNAVAILABLE when no agent answers in the guest. */
  static async open({
    socketPath,
    timeoutMs = GUEST_SYNC_LIMIT_MS,
    signal,
  }: GuestChannelOptions): Promise<GuestChannel> {
    const channel = new GuestChannel(socketPath, createConnection({ path: socketPath }))
    const onAbort = (): void => channel.close()
    signal?.addEventListener('abort', onAbort, { once: true })
    channel.#forget = () => signal?.removeEventListener('abort', onAbort)
    try {
      const silent = unavailable(`no guest agent answered on ${socketPath} within ${timeoutMs} ms`)
      await channel.#sync(timeoutMs, silent, false)
      return channel
    } catch (error) {
      channel.close()
      throw error
    }
  }

  /** Runs one command; GUEST_AGENT_ERROR carries the agent's description. */
  async execute(command: string, options: GuestCommandOptions = {}): Promise<unknown> {
    const { timeoutMs = GUEST_COMMAND_LIMIT_MS, mountpoints, late, keepOpen = false } = options
    const args = mountpoints === undefined ? {} : { arguments: { mountpoints } }
    const line = Buffer.from(`${JSON.stringify({ execute: command, ...args })}\n`)
    const silent =
      late ?? unavailable(`the guest agent at ${this.#path} did not answer ${command} within ${timeoutMs} ms`)
    const answer = await this.#converse(line, { timeoutMs, late: silent, keepOpen, wanted: () => true })
    if ('return' in answer) return answer.return
    throw new VarveError('GUEST_AGENT_ERROR', `the guest agent refused ${command}: ${answer.error.desc}`, {
      details: { command, class: answer.error.class, desc: answer.error.desc },
    })
  }

  /**
   * Waits until the guest has finished earlier commands, whether it answers them or not; false, with the channel still open,
   * when it does not within `timeoutMs`. A guest agent works through its commands in order.
   */
  async resync(timeoutMs: number): Promise<boolean> {
    const silent = unavailable(`the guest agent at ${this.#path} did not answer within ${timeoutMs} ms`)
    try {
      await this.#sync(timeoutMs, silent, true)
      return true
    } catch (error) {
      if (error === silent) return false
      throw error
    }
  }

  close(): void {
    this.#end(unavailable(`the connection to the guest agent at ${this.#path} was closed`))
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close()
    return Promise.resolve()
  }

  async #sync(timeoutMs: number, late: VarveError, keepOpen: boolean): Promise<void> {
    const id = randomInt(1, 2 ** 31)
    const sync = `${JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id } })}\n`
    const line = Buffer.concat([Buffer.from([SYNC_BYTE]), Buffer.from(sync)])
    // answers to what was asked earlier, and the complaint about the sync byte, come before ours
    const wanted = (answer: Answer): boolean => 'return' in answer && answer.return === id
    await this.#converse(line, { timeoutMs, late, keepOpen, wanted })
  }

  async #converse(
    line: Buffer,
    {
      timeoutMs,
      late,
      keepOpen,
      wanted,
    }: { timeoutMs: number; late: VarveError; keepOpen: boolean; wanted: (answer: Answer) => boolean },
  ): Promise<Answer> {
    if (this.#failure !== null) throw this.#failure
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    this.#accept = (answer) => {
      if (wanted(answer)) resolve(answer)
    }
    this.#refuse = reject
    const timer = setTimeout(() => (keepOpen ? reject(late) : this.#end(late)), timeoutMs)
    this.#socket.write(line)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      this.#accept = null
      this.#refuse = null
    }
  }

  #receive(chunk: Buffer): void {
    const fresh = chunk.lastIndexOf(SYNC_BYTE)
    // whatever came before the byte belongs to an older conversation
    this.#text = fresh === -1 ? this.#text + chunk.toString('latin1') : chunk.subarray(fresh + 1).toString('latin1')
    if (this.#text.length > GUEST_ANSWER_BYTES_MAX) {
      this.#end(
        unavailable(
          `the guest agent at ${this.#path} sent more than ${GUEST_ANSWER_BYTES_MAX} bytes without an answer`,
        ),
      )
      return
    }
    for (let end = this.#text.indexOf('\n'); end !== -1; end = this.#text.indexOf('\n')) {
      const answer = parse(Buffer.from(this.#text.slice(0, end), 'latin1').toString('utf8'))
      this.#text = this.#text.slice(end + 1)
      if (answer !== null) this.#accept?.(answer)
    }
  }

  #end(error: VarveError): void {
    if (this.#failure !== null) return
    this.#failure = error
    this.#forget()
    this.#socket.destroy()
    this.#refuse?.(error)
  }
}
