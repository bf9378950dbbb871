// Calls between threads: typed, with buffers that move instead of being copied, and errors that keep their codes.
import { parentPort, Worker, type ResourceLimits } from 'node:worker_threads'
import { asVarveError, isErrorCode, VarveError, type ErrorDetails } from '../errors.ts'

/** What a thread can be asked: functions whose arguments and results survive a structured clone. */
export type Methods = { readonly [name: string]: (...args: never[]) => unknown }

/** A result whose buffers move to the caller, and are empty here afterwards. */
export class Moved<R> {
  readonly result: R
  readonly buffers: readonly ArrayBuffer[]

  constructor(result: R, buffers: readonly ArrayBuffer[]) {
    this.result = result
    this.buffers = buffers
  }
}

/** What a method gives its caller. */
export type Given<F extends Methods[string]> =
  Awaited<ReturnType<F>> extends Moved<infer R> ? R : Awaited<ReturnType<F>>

/** A call of one of the methods, as its caller hears of it. */
export type Call<M extends Methods> = <N extends keyof M & string>(
  name: N,
  args: Parameters<M[N]>,
  buffers?: readonly ArrayBuffer[],
) => Promise<Given<M[N]>>

interface Asked {
  /** Null where no answer is wanted. */
  readonly call: number | null
  readonly name: string
  readonly args: readonly unknown[]
}

interface Answered {
  readonly answer: number
  readonly result?: unknown
  readonly error?: { readonly code: string; readonly message: string; readonly details: ErrorDetails }
}

/** The end of the calls: the other side finishes what it was given before, and closes. */
type Ending = null

interface Port {
  postMessage(message: Asked | Answered | Ending, buffers: ArrayBuffer[]): void
  on(event: 'message', listener: (message: Asked | Answered | Ending) => void): unknown
}

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: VarveError) => void
}

interface Ways {
  /** What the other side may call here. */
  readonly methods: Methods
  /** What a method that throws tells the other side. */
  readonly errorOf: (thrown: unknown) => VarveError
  /** Hears of every error that the other side answers with, before the caller does. */
  readonly onError: (error: VarveError) => void
  readonly onEnding: () => void
}

/** One side of the calls between two threads, which goes both ways. */
export class ThreadCalls<M extends Methods> {
  readonly #port: Port
  readonly #ways: Ways
  readonly #waiting = new Map<number, Waiting>()
  #number = 0
  #failure: VarveError | null = null

  constructor(port: Port, ways: Ways) {
    this.#port = port
    this.#ways = ways
    port.on('message', (message) => this.#onMessage(message))
  }

  /** True once no call is answered any more. */
  get failed(): boolean {
    return this.#failure !== null
  }

  /** Calls that wait for their answer. */
  get waiting(): number {
    return this.#waiting.size
  }

  /**
   * Calls a method of the other side; `buffers` move there and are empty here afterwards. What the method throws; what `fail`
   * was given.
   */
  readonly call: Call<M> = (name, args, buffers = []) =>
    new Promise((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure)
      const call = this.#number++
      try {
        this.#port.postMessage({ call, name, args }, [...buffers])
      } catch (error) {
        // a buffer that cannot be moved (already moved, or shared) is the caller's mistake
        return reject(asVarveError(error))
      }
      this.#waiting.set(call, { resolve: resolve as (value: unknown) => void, reject })
    })

  /** The same where nobody waits for an answer. */
  tell<N extends keyof M & string>(name: N, args: Parameters<M[N]>): void {
    if (this.#failure === null) this.#port.postMessage({ call: null, name, args }, [])
  }

  /** Ends every call that waits, and every later one, with this error, unless they have ended before. */
  fail(error: VarveError): void {
    this.#failure ??= error
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure)
    this.#waiting.clear()
  }

  #onMessage(message: Asked | Answered | Ending): void {
    if (message === null) this.#ways.onEnding()
    else if ('answer' in message) this.#settle(message)
    else this.#serve(message)
  }

  #settle({ answer, result, error }: Answered): void {
    const waiting = this.#waiting.get(answer)
    this.#waiting.delete(answer)
    if (error === undefined) return waiting?.resolve(result)
    const { code, message, details } = error
    const told = new VarveError(isErrorCode(code) ? code : 'INTERNAL', message, { details })
    this.#ways.onError(told)
    waiting?.reject(told)
  }

  #serve({ call, name, args }: Asked): void {
    const answer = (result: unknown): void => {
      if (call === null) return
      if (result instanceof Moved) this.#port.postMessage({ answer: call, result: result.result }, [...result.buffers])
      else this.#port.postMessage({ answer: call, result }, [])
    }
    const fail = (thrown: unknown): void => {
      const { code, message, details } = this.#ways.errorOf(thrown)
      if (call !== null) this.#port.postMessage({ answer: call, error: { code, message, details } }, [])
    }
    try {
      const result = this.#ways.methods[name]!(...(args as never[]))
      // what is done at once is answered at once, so that answers keep the order of the calls
      if (result instanceof Promise) result.then(answer).catch(fail)
      else answer(result)
    } catch (thrown) {
      fail(thrown)
    }
  }
}

/** Answers the calls to this thread; gives the calls to the one that started it. `close` comes before the thread ends. */
export const serveThread = <O extends Methods = Methods>(
  methods: Methods,
  options: { readonly errorOf?: (thrown: unknown) => VarveError; readonly close?: () => unknown } = {},
): ThreadCalls<O> => {
  const port = parentPort!
  const { errorOf = asVarveError, close = (): void => {} } = options
  const onEnding = async (): Promise<void> => {
    try {
      await close()
    } finally {
      port.close()
    }
  }
  return new ThreadCalls<O>(port, { methods, errorOf, onError: () => {}, onEnding: () => void onEnding() })
}

export interface ThreadOptions {
  /** The `workerData` of the thread. */
  readonly data?: unknown
  /** Of its JavaScript heap. */
  readonly heap?: ResourceLimits
  /** What the calls fail with of a thread that has ended. */
  readonly ended: () => VarveError
  /** Hears of every error of a call, before the caller does. */
  readonly onError?: (error: VarveError) => void
  /** What the thread may call here. */
  readonly methods?: Methods
}

/** A thread that is called; its calls begin in the order in which they were made. */
export class WorkThread<M extends Methods> implements AsyncDisposable {
  readonly #worker: Worker
  readonly #calls: ThreadCalls<M>
  readonly #exited = Promise.withResolvers<void>()

  constructor(file: URL, options: ThreadOptions) {
    const { data, heap, ended, onError = (): void => {}, methods = {} } = options
    this.#worker = new Worker(file, { workerData: data, ...(heap === undefined ? {} : { resourceLimits: heap }) })
    this.#calls = new ThreadCalls(this.#worker, { methods, errorOf: asVarveError, onError, onEnding: () => {} })
    this.#worker.on('error', (error) => this.#calls.fail(asVarveError(error, ended().code)))
    this.#worker.on('exit', () => {
      this.#calls.fail(ended())
      this.#exited.resolve()
    })
  }

  /** True once the thread has ended or failed: no call is answered any more. */
  get ended(): boolean {
    return this.#calls.failed
  }

  get waiting(): number {
    return this.#calls.waiting
  }

  /** Resolves when the thread has ended. */
  get exited(): Promise<void> {
    return this.#exited.promise
  }

  get call(): Call<M> {
    return this.#calls.call
  }

  tell<N extends keyof M & string>(name: N, args: Parameters<M[N]>): void {
    this.#calls.tell(name, args)
  }

  fail(error: VarveError): void {
    this.#calls.fail(error)
  }

  /** Ends the thread once it has answered what it was given before; in the middle of it after `limitMs`. */
  async end(limitMs: number | null = null): Promise<void> {
    this.#worker.postMessage(null)
    const timer = limitMs === null ? undefined : setTimeout(() => void this.#worker.terminate(), limitMs)
    await this.exited
    clearTimeout(timer)
  }

  /** Ends the thread in the middle of what it does. */
  async terminate(): Promise<void> {
    await this.#worker.terminate()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
  }
}
