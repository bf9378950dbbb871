// A scripted guest agent that pretends to freeze, for what must never be done to the host's own file systems.
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'

export interface GuestAgentScript {
  /** Milliseconds before a freeze is answered; it takes effect at the answer. */
  readonly freezeDelayMs?: number
  /** A freeze takes effect and is answered only after this. */
  readonly freezeHeld?: Promise<void>
  /** Error description that a freeze ends with. */
  readonly freezeError?: string
  /** Number of file systems that a freeze reports. */
  readonly freezeCount?: number
  /** How many thaws fail before one works. */
  readonly thawFailures?: number
  /** How many times the status cannot be told. */
  readonly statusFailures?: number
  /** Milliseconds after which the guest thaws by itself. */
  readonly selfThawMs?: number
  readonly silent?: boolean
  readonly frozenBefore?: boolean
  /** Milliseconds before anything is answered. */
  readonly answerDelayMs?: number
  /** Serves one client, as QEMU does: the next one waits until it has gone. */
  readonly oneClient?: boolean
}

/** A guest agent on a unix socket, which works through what it is told one command after the other. */
export class ScriptedGuestAgent implements AsyncDisposable {
  frozen: boolean
  /** It was told to freeze, and has not answered yet. */
  freezing = false
  /** How many more thaws fail. */
  thawFailures: number
  readonly commands: string[] = []
  readonly socketPath: string
  readonly #script: GuestAgentScript
  #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #statusFailures: number
  #turn: Promise<void> = Promise.resolve()

  private constructor(socketPath: string, script: GuestAgentScript) {
    this.socketPath = socketPath
    this.#script = script
    this.frozen = script.frozenBefore ?? false
    this.thawFailures = script.thawFailures ?? 0
    this.#statusFailures = script.statusFailures ?? 0
    this.#server = this.#make()
  }

  static async listen(socketPath: string, script: GuestAgentScript = {}): Promise<ScriptedGuestAgent> {
    const agent = new ScriptedGuestAgent(socketPath, script)
    agent.#server.listen(socketPath)
    await once(agent.#server, 'listening')
    return agent
  }

  /** Takes the socket away, as a QEMU that ends or restarts its character device does; the guest stays as it is. */
  async away(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  async back(): Promise<void> {
    this.#server = this.#make()
    this.#server.listen(this.socketPath)
    await once(this.#server, 'listening')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    if (this.#server.listening) await this.away()
  }

  #make(): Server {
    let served: Promise<unknown> = Promise.resolve()
    return createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      const listen = (): void =>
        void socket.on('data', (chunk: Buffer) => {
          this.#turn = this.#turn.then(() => this.#answer(socket, chunk))
        })
      const closed = new Promise((resolve) => socket.once('close', resolve))
      if (this.#script.oneClient !== true) return listen()
      void served.then(listen)
      served = served.then(() => closed)
    })
  }

  async #answer(socket: Socket, chunk: Buffer): Promise<void> {
    if (this.#script.silent === true) return
    if (this.#script.answerDelayMs !== undefined) await this.#pause(this.#script.answerDelayMs)
    const fresh = chunk.includes(0xff)
    if (fresh) socket.write('{"error": {"class": "GenericError", "desc": "JSON parse error, stray input"}}\n')
    const lines = chunk
      .subarray(chunk.lastIndexOf(0xff) + 1)
      .toString()
      .split('\n')
      .filter(Boolean)
    for (const line of lines) {
      const { execute, arguments: args } = JSON.parse(line)
      this.commands.push(execute)
      const reply = `${JSON.stringify(await this.#run(execute, args))}\n`
      if (!socket.destroyed) socket.write(fresh ? Buffer.concat([Buffer.from([0xff]), Buffer.from(reply)]) : reply)
    }
  }

  async #run(command: string, args: { id: number } | undefined): Promise<unknown> {
    switch (command) {
      case 'guest-sync-delimited':
        return { return: args?.id }
      case 'guest-fsfreeze-status':
        if (this.#statusFailures-- > 0) return { error: { class: 'GenericError', desc: 'no status' } }
        return { return: this.frozen ? 'frozen' : 'thawed' }
      case 'guest-fsfreeze-freeze':
        this.freezing = true
        return await this.#freeze().finally(() => void (this.freezing = false))
      case 'guest-fsfreeze-thaw':
        return this.#thaw()
      default:
        return { error: { class: 'CommandNotFound', desc: `The command ${command} has not been found` } }
    }
  }

  async #freeze(): Promise<unknown> {
    const { freezeDelayMs, freezeHeld, freezeError, freezeCount = 2, selfThawMs } = this.#script
    await freezeHeld
    if (freezeDelayMs !== undefined) await this.#pause(freezeDelayMs)
    if (freezeError !== undefined) return { error: { class: 'GenericError', desc: freezeError } }
    if (freezeCount > 0) this.frozen = true
    if (selfThawMs !== undefined) void this.#pause(selfThawMs).then(() => void (this.frozen = false))
    return { return: freezeCount }
  }

  #thaw(): unknown {
    if (this.thawFailures > 0) {
      this.thawFailures -= 1
      return { error: { class: 'GenericError', desc: 'failed to unfreeze filesystem' } }
    }
    const count = this.frozen ? 2 : 0
    this.frozen = false
    return { return: count }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#timers.add(setTimeout(resolve, delayMs))
    })
  }
}
