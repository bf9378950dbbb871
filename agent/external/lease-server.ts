// Takes the leases that commands of this host give: each is good for as long as its command is connected.
import type { Socket } from 'node:net'
import * as v from 'valibot'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { servePrivately } from '../../protocol/host/private-socket.ts'
import { offerSchema, type Offer } from '../drivers/external/offer.ts'
import type { Given, Offers } from '../drivers/external/offers.ts'
import { LEASES_SOCKET, LINE_BYTES_MAX, type Answer } from './lease-wire.ts'

/** Commands that may be connected at once, and how long one may take to say its lease, in milliseconds. */
const CONNECTIONS_MAX = 256
const OFFER_LIMIT_MS = 10_000

export interface LeaseServerOptions {
  readonly state: string
  readonly gateway: string
  readonly offers: Offers
  /** Makes the machine known to the gateway; rejects where that refuses it. */
  readonly announce: (offer: Offer) => Promise<void>
}

const request = v.strictObject({ gateway: v.string(), offer: offerSchema })

/** The first line; null where the command ends before. PARAMS_INVALID. */
const readLine = (socket: Socket): Promise<string | null> =>
  new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let bytes = 0
    const onData = (part: Buffer): void => {
      parts.push(part)
      bytes += part.length
      if (bytes > LINE_BYTES_MAX) {
        socket.off('data', onData)
        parts.length = 0
        reject(new VarveError('PARAMS_INVALID', 'the description of a lease is too long'))
      } else if (part.includes(0x0a)) {
        socket.off('data', onData)
        resolve(Buffer.concat(parts).toString('utf8').split('\n', 1)[0] ?? '')
      }
    }
    socket.on('data', onData)
    socket.once('close', () => resolve(null))
  })

const parse = (line: string): v.InferOutput<typeof request> => {
  try {
    return v.parse(request, JSON.parse(line))
  } catch (error) {
    throw new VarveError('PARAMS_INVALID', `the description of a lease is wrong: ${(error as Error).message}`)
  }
}

const serve = async (socket: Socket, options: LeaseServerOptions): Promise<void> => {
  const say = (answer: Answer): void => void socket.write(`${JSON.stringify(answer)}\n`)
  let given: Given | null = null
  const over = new VarveError('LEASE_LOST', 'the command that gave it has ended')
  const end = (): void => given?.end(over)
  socket.once('close', end)
  const timer = setTimeout(() => socket.destroy(), OFFER_LIMIT_MS)
  try {
    const line = await readLine(socket)
    clearTimeout(timer)
    if (line === null) return
    // nothing more is said; without a reader the end of the command would not be seen
    socket.resume()
    const { gateway, offer } = parse(line)
    if (gateway !== options.gateway)
      throw new VarveError('CONFIG_INVALID', `the agent that runs here has another gateway: ${options.gateway}`)
    given = options.offers.give(offer)
    if (socket.destroyed) return end()
    await options.announce(offer)
    say({ given: true })
  } catch (thrown) {
    const { code, message } = asVarveError(thrown)
    end()
    say({ error: { code, message } })
    // what it still says is dropped, for as long as it may take to read the answer
    socket.resume()
    socket.end()
    setTimeout(() => socket.destroy(), OFFER_LIMIT_MS).unref()
  } finally {
    clearTimeout(timer)
  }
}

/** Takes leases on a socket of the state folder, from the agent's own user only. */
export const serveLeases = (options: LeaseServerOptions): Promise<AsyncDisposable> => {
  const where = { folder: options.state, name: LEASES_SOCKET, connectionsMax: CONNECTIONS_MAX }
  return servePrivately(where, (socket) => void serve(socket, options))
}
