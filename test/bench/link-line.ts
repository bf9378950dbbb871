// Drives the delaying proxy from the benchmark's process, and measures what the proxy itself does to plain sockets.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import path from 'node:path'

/** One direction of the link. */
export interface LineSettings {
  readonly delayMs: number
  /** Null: as fast as the proxy can. */
  readonly bitsPerSecond: number | null
}

/** What arrived over one direction since the last reset. */
export interface LineStats {
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly firstMs: number
  readonly lastMs: number
  /** Bytes in each step of `stepMs`, by the step's number since 1970. */
  readonly stepMs: number
  readonly steps: readonly (readonly [number, number])[]
}

export type LineOrder = { readonly id: number } & (
  | { readonly do: 'listen'; readonly targetPort: number }
  | { readonly do: 'set'; readonly settings: LineSettings }
  | { readonly do: 'reset' }
  | { readonly do: 'stats' }
)

export interface LinkStats {
  readonly up: LineStats
  readonly down: LineStats
  readonly cpu: NodeJS.CpuUsage
}

export type LineAnswer = { readonly id: number } & (LinkStats | { readonly port: number })

type OrderWithoutId = LineOrder extends infer O ? (O extends LineOrder ? Omit<O, 'id'> : never) : never

const ROUND_TRIPS = 20
const WARM_UP_ROUND_TRIPS = 3

/** A proxy in front of a port of this machine. */
export class LinkProxyProcess implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve: (answer: LineAnswer) => void; reject: (error: Error) => void }>()
  #nextId = 1
  #port = 0

  private constructor(child: ChildProcess) {
    this.#child = child
    child.on('message', (answer: LineAnswer) => {
      this.#waiting.get(answer.id)?.resolve(answer)
      this.#waiting.delete(answer.id)
    })
    child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the delaying proxy ended'))
      this.#waiting.clear()
    })
  }

  static async start(targetPort: number): Promise<LinkProxyProcess> {
    const proxy = new LinkProxyProcess(fork(path.join(import.meta.dirname, 'link-proxy.ts')))
    const answer = await proxy.#ask({ do: 'listen', targetPort })
    proxy.#port = 'port' in answer ? answer.port : 0
    return proxy
  }

  get port(): number {
    return this.#port
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Changes both directions, also for what comes over open connections. */
  set(settings: LineSettings): Promise<LinkStats> {
    return this.#stats({ do: 'set', settings })
  }

  reset(): Promise<LinkStats> {
    return this.#stats({ do: 'reset' })
  }

  stats(): Promise<LinkStats> {
    return this.#stats({ do: 'stats' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill()
    await exited
  }

  async #stats(order: OrderWithoutId): Promise<LinkStats> {
    const answer = await this.#ask(order)
    if (!('up' in answer)) throw new Error('the delaying proxy answered something else')
    return answer
  }

  #ask(order: OrderWithoutId): Promise<LineAnswer> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.send({ id, ...order })
    })
  }
}

/** What plain sockets get through a link. */
export interface LinkCheck {
  /** Of one byte there and back, in milliseconds. */
  readonly roundTripMs: number
  /** Of a byte that goes while the upward line is full, on a connection of its own, in milliseconds. */
  readonly loadedRoundTripMs: number
  readonly upBitsPerSecond: number
  readonly downBitsPerSecond: number
}

const MODE = { echo: 0x65, sink: 0x73, source: 0x72 } as const
const PUMP_BYTES = 64 * 1024

/** Writes for as long as the socket is open. */
const pump = (socket: Socket): void => {
  const bytes = Buffer.alloc(PUMP_BYTES, 1)
  const write = (): void => {
    while (!socket.destroyed && socket.write(bytes));
  }
  socket.on('drain', write)
  write()
}

/** A server whose connections say with their first byte what is done with the rest. */
const plainServer = () =>
  createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {})
    socket.once('data', (first: Buffer) => {
      if (first[0] === MODE.echo) socket.on('data', (bytes) => socket.write(bytes))
      else if (first[0] === MODE.source) pump(socket)
      else socket.resume()
    })
  })

const open = async (port: number, mode: number): Promise<Socket> => {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(Buffer.of(mode))
  return socket
}

const roundTripMs = async (port: number): Promise<number> => {
  const socket = await open(port, MODE.echo)
  try {
    const times: number[] = []
    for (let index = 0; index < ROUND_TRIPS + WARM_UP_ROUND_TRIPS; index++) {
      // apart from the byte that names the mode, so that the server sees it alone
      await new Promise((resolve) => void setTimeout(resolve, index === 0 ? 500 : 5))
      const startMs = performance.now()
      socket.write(Buffer.of(1))
      await once(socket, 'data')
      if (index >= WARM_UP_ROUND_TRIPS) times.push(performance.now() - startMs)
    }
    return times.toSorted((a, b) => a - b)[ROUND_TRIPS >> 1] ?? Number.NaN
  } finally {
    socket.destroy()
  }
}

/** Bits a second that arrive in whole steps of the flow, the first half second left out. */
const steadyRate = ({ steps, stepMs }: LineStats): number => {
  const whole = steps.slice(Math.ceil(500 / stepMs), -1)
  return (whole.reduce((sum, [, bytes]) => sum + bytes, 0) * 8000) / (whole.length * stepMs)
}

/** Measures the link with plain sockets alone, for so many milliseconds in each direction. */
export const checkLink = async (settings: LineSettings, pumpMs: number): Promise<LinkCheck> => {
  await using resources = new AsyncDisposableStack()
  const server = plainServer().listen(0, '127.0.0.1')
  resources.defer(() => void server.close())
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no TCP port is free')
  const proxy = resources.use(await LinkProxyProcess.start(address.port))
  await proxy.set(settings)
  const idle = await roundTripMs(proxy.port)
  const flood = async <T>(mode: number, meanwhile: () => Promise<T>): Promise<{ stats: LinkStats; result: T }> => {
    await proxy.reset()
    const socket = await open(proxy.port, mode)
    if (mode === MODE.sink) pump(socket)
    else socket.resume()
    const [result] = await Promise.all([meanwhile(), new Promise((resolve) => void setTimeout(resolve, pumpMs))])
    const stats = await proxy.stats()
    socket.destroy()
    return { stats, result }
  }
  const upward = await flood(MODE.sink, () => roundTripMs(proxy.port))
  const downward = await flood(MODE.source, async () => null)
  return {
    roundTripMs: idle,
    loadedRoundTripMs: upward.result,
    upBitsPerSecond: steadyRate(upward.stats.up),
    downBitsPerSecond: steadyRate(downward.stats.down),
  }
}
