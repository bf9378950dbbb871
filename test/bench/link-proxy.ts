// A TCP proxy that is a slow long link: a delay and a rate in each direction, in a process of its own (started by link-line.ts).
//
// Both directions have one token bucket for all connections together, as a line has. A piece of data leaves when everything
// before it has left at the line's rate, and arrives one delay later. What is held is bounded: when a line is full, its
// sources are not read, so TCP holds the sender back.
import { createServer, connect, type Socket } from 'node:net'
import type { LineAnswer, LineOrder, LineSettings, LineStats } from './link-line.ts'

/** What waits in front of a line besides what is on its way, in bytes: some 10 ms of 200 Mbit/s. */
const QUEUE_BYTES = 256 * 1024

/** Earlier data is sent first at most this long after its time, in milliseconds; Node's timers have whole milliseconds. */
const TIMER_STEP_MS = 1

/** Steps in which the flow over time is kept, in milliseconds. */
const STEP_MS = 100

interface Piece {
  readonly bytes: Buffer
  readonly arrivesMs: number
}

/** One direction of the link, shared by all connections. */
class Line {
  #settings: LineSettings = { delayMs: 0, bitsPerSecond: null }
  readonly #flows = new Set<Flow>()
  /** When everything taken so far has left. */
  #leftMs = 0
  #held = 0
  #stats = { bytes: 0, firstMs: 0, lastMs: 0, steps: new Map<number, number>() }

  set settings(settings: LineSettings) {
    this.#settings = settings
  }

  get stats(): LineStats {
    const { bytes, firstMs, lastMs, steps } = this.#stats
    return { bytes, firstMs, lastMs, stepMs: STEP_MS, steps: [...steps] }
  }

  reset(): void {
    this.#stats = { bytes: 0, firstMs: 0, lastMs: 0, steps: new Map() }
  }

  get full(): boolean {
    const { delayMs, bitsPerSecond } = this.#settings
    const under = bitsPerSecond === null ? 0 : (bitsPerSecond / 8000) * delayMs
    return this.#held > under + QUEUE_BYTES
  }

  add(flow: Flow): void {
    this.#flows.add(flow)
  }

  remove(flow: Flow, heldBytes: number): void {
    this.#flows.delete(flow)
    this.delivered(heldBytes)
  }

  /** Takes bytes onto the line; gives when they arrive. A connection's first bytes wait for its opening, one round trip. */
  take(bytes: number, openedMs: number): number {
    const { delayMs, bitsPerSecond } = this.#settings
    const tookMs = bitsPerSecond === null ? 0 : (bytes * 8000) / bitsPerSecond
    this.#leftMs = Math.max(this.#leftMs, performance.now()) + tookMs
    this.#held += bytes
    return Math.max(this.#leftMs, openedMs + 2 * delayMs) + delayMs
  }

  count(bytes: number): void {
    const nowMs = performance.timeOrigin + performance.now()
    if (this.#stats.bytes === 0) this.#stats.firstMs = nowMs
    this.#stats.bytes += bytes
    this.#stats.lastMs = nowMs
    const step = Math.floor(nowMs / STEP_MS)
    this.#stats.steps.set(step, (this.#stats.steps.get(step) ?? 0) + bytes)
  }

  /** Bytes have left the line. */
  delivered(bytes: number): void {
    this.#held -= bytes
    if (!this.full) for (const flow of this.#flows) flow.goOn()
  }
}

/** One direction of one connection. */
class Flow {
  readonly #line: Line
  readonly #from: Socket
  readonly #to: Socket
  readonly #openedMs = performance.now()
  #pieces: Piece[] = []
  #heldBytes = 0
  #timer: NodeJS.Timeout | null = null
  #blocked = false
  #ended = false
  #over = false

  constructor(line: Line, from: Socket, to: Socket) {
    this.#line = line
    this.#from = from
    this.#to = to
    line.add(this)
    from.on('data', (bytes: Buffer) => this.#take(bytes))
    from.on('end', () => {
      this.#ended = true
      this.#deliver()
    })
    to.on('drain', () => {
      this.#blocked = false
      this.#deliver()
    })
  }

  /** Reads on; called when the line has room again. */
  goOn(): void {
    if (this.#from.isPaused()) this.#from.resume()
  }

  close(): void {
    if (this.#over) return
    this.#over = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#line.remove(this, this.#heldBytes)
    this.#pieces = []
  }

  #take(bytes: Buffer): void {
    if (this.#over) return
    this.#heldBytes += bytes.length
    this.#pieces.push({ bytes, arrivesMs: this.#line.take(bytes.length, this.#openedMs) })
    if (this.#line.full) this.#from.pause()
    this.#deliver()
  }

  #deliver(): void {
    if (this.#timer !== null || this.#blocked || this.#over) return
    const nowMs = performance.now()
    let done = 0
    for (const { bytes, arrivesMs } of this.#pieces) {
      if (arrivesMs > nowMs || this.#blocked) break
      this.#blocked = !this.#to.write(bytes)
      this.#line.count(bytes.length)
      this.#heldBytes -= bytes.length
      done += 1
      this.#line.delivered(bytes.length)
    }
    this.#pieces.splice(0, done)
    const [next] = this.#pieces
    if (next !== undefined && !this.#blocked) {
      this.#timer = setTimeout(
        () => {
          this.#timer = null
          this.#deliver()
        },
        Math.max(TIMER_STEP_MS, next.arrivesMs - nowMs),
      )
    } else if (next === undefined && this.#ended) {
      this.#to.end()
    }
  }
}

const up = new Line()
const down = new Line()

const serve = (near: Socket, targetPort: number): void => {
  const far = connect({ port: targetPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  near.setNoDelay(true)
  const flows = [new Flow(up, near, far), new Flow(down, far, near)]
  for (const [one, other] of [
    [near, far],
    [far, near],
  ] as const) {
    one.on('error', () => other.destroy())
    one.on('close', () => {
      for (const flow of flows) flow.close()
      other.destroy()
    })
  }
}

const answer = (message: LineAnswer): void => void process.send?.(message)

let targetPort = 0
const server = createServer({ allowHalfOpen: true }, (near) => serve(near, targetPort))

process.on('message', (order: LineOrder) => {
  if (order.do === 'listen') {
    targetPort = order.targetPort
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      answer({ id: order.id, port: typeof address === 'object' && address !== null ? address.port : 0 })
    })
    return
  }
  if (order.do === 'set') for (const line of [up, down]) line.settings = order.settings
  if (order.do === 'reset') for (const line of [up, down]) line.reset()
  answer({ id: order.id, up: up.stats, down: down.stats, cpu: process.cpuUsage() })
})
// the parent's end, however it came, is ours too
process.on('disconnect', () => process.exit())
