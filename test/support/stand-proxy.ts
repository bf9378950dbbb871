// A TCP link to a gateway, from an agent or a browser, that a test can cut, refuse, stall and throttle.
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

interface Pair {
  readonly near: Socket
  readonly far: Socket
}

export class LinkProxy implements AsyncDisposable {
  readonly port: number
  /** Bytes that went from the agent to the gateway. */
  upBytes = 0
  /** Bytes that went from the gateway to the agent. */
  downBytes = 0
  /** Port of the gateway; null refuses everyone. */
  target: number | null = null
  /** Bytes a second in each direction of each connection. */
  bytesPerSecond: number | null = null
  readonly #server: Server
  readonly #pairs = new Set<Pair>()
  #stalled = false
  /** Once the agent has sent these words, nothing of the gateway's comes through any more. */
  #last: Buffer | null = null
  #sent = Buffer.alloc(0)
  #deaf = false

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
    server.on('connection', (near) => this.#onConnection(near))
  }

  static async listen(): Promise<LinkProxy> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
    return new LinkProxy(server, address.port)
  }

  /** Breaks every connection; new ones are taken at once. */
  cut(): void {
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy()
      far.resetAndDestroy()
    }
  }

  /** Lets nothing through, with every connection open, until `flow`. */
  stall(): void {
    this.#stalled = true
    for (const { near, far } of this.#pairs) {
      near.pause()
      far.pause()
    }
  }

  flow(): void {
    this.#stalled = false
    for (const { near, far } of this.#pairs) {
      near.resume()
      far.resume()
    }
  }

  /** Nobody listens any more; connections that are there stay. */
  refuse(): void {
    this.#server.close()
  }

  /** Listens again at the same port. */
  async accept(): Promise<void> {
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  /** Keeps from the agent all that the gateway sends from now on, until `hear`. */
  deafen(): void {
    this.#deaf = true
  }

  /** Keeps from the agent what the gateway answers to the next frame with these words, and all after it, until `hear`. */
  deafAfter(words: string): void {
    this.#last = Buffer.from(words)
    this.#sent = Buffer.alloc(0)
  }

  /** Lets what comes from now on through; what was kept is lost with its connections. */
  hear(): void {
    this.#last = null
    this.#deaf = false
    this.cut()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.cut()
    await closed
  }

  #onConnection(near: Socket): void {
    if (this.target === null) return void near.destroy()
    const far = connect(this.target, '127.0.0.1')
    const pair = { near, far }
    this.#pairs.add(pair)
    this.#carry(near, far, (chunk) => {
      this.upBytes += chunk.length
      this.#listen(chunk)
      return true
    })
    this.#carry(far, near, (chunk) => {
      this.downBytes += chunk.length
      return !this.#deaf
    })
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => {})
      one.on('close', () => {
        this.#pairs.delete(pair)
        other.destroy()
      })
    }
    if (this.#stalled) this.stall()
  }

  /** Looks for the last words in what the agent sends, which may come in pieces. */
  #listen(chunk: Buffer): void {
    if (this.#last === null) return
    const text = Buffer.concat([this.#sent, chunk])
    this.#deaf ||= text.includes(this.#last)
    this.#sent = text.subarray(-this.#last.length)
  }

  /** Passes on what comes where `onChunk`, which counts it, says so. */
  #carry(from: Socket, to: Socket, onChunk: (chunk: Buffer) => boolean): void {
    const goOn = (): void => {
      if (!this.#stalled) from.resume()
    }
    from.on('data', (chunk: Buffer) => {
      if (!onChunk(chunk)) return
      const free = to.write(chunk)
      const waitMs = this.bytesPerSecond === null ? 0 : (chunk.length / this.bytesPerSecond) * 1000
      if (free && waitMs === 0) return
      from.pause()
      if (waitMs > 0) setTimeout(goOn, waitMs)
      else to.once('drain', goOn)
    })
    from.on('end', () => to.end())
  }
}
