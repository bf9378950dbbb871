// Gives the agent of this host a lease, for as long as the result is not disposed of.
import { createConnection, type Socket } from 'node:net'
import * as v from 'valibot'
import { toldError, VarveError } from '../../protocol/errors.ts'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import type { AgentConfig } from '../config.ts'
import type { Offer } from '../drivers/external/offer.ts'
import { answerSchema, LEASES_SOCKET, LINE_BYTES_MAX } from './lease-wire.ts'

export interface GivenLease extends Disposable {
  /** Resolves when the agent has let go of it, as it does when it ends. */
  readonly ended: Promise<VarveError>
}

const AWAY = '"varve-agent run" has to run on this host, as the same user: it does the reading'

const answerOf = (socket: Socket): Promise<string> =>
  new Promise((resolve, reject) => {
    let text = ''
    socket.setEncoding('utf8')
    const onData = (part: string): void => {
      text += part
      if (text.length > LINE_BYTES_MAX) socket.destroy()
      if (!text.includes('\n')) return
      socket.off('data', onData)
      socket.resume()
      resolve(text.split('\n', 1)[0] ?? '')
    }
    socket.on('data', onData)
    socket.once('close', () => reject(new VarveError('AGENT_OFFLINE', 'the agent of this host has ended')))
  })

/** AGENT_OFFLINE where no agent runs here or it has no gateway, LEASE_HELD, and what the gateway refuses the machine with. */
export const giveLease = async (
  { state, gateway }: Pick<AgentConfig, 'state' | 'gateway'>,
  offer: Offer,
  signal: AbortSignal,
): Promise<GivenLease> => {
  await using place = await SocketPath.of(state, LEASES_SOCKET).catch((cause: unknown) => {
    throw new VarveError('AGENT_OFFLINE', AWAY, { cause })
  })
  const socket = createConnection({ path: place.path })
  const onAbort = (): void => void socket.destroy()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', (cause) => reject(new VarveError('AGENT_OFFLINE', AWAY, { cause })))
    })
    socket.on('error', () => {})
    const ended = new Promise<VarveError>((resolve) =>
      socket.once('close', () =>
        resolve(new VarveError('LEASE_LOST', 'the agent of this host has ended, and with it the backup')),
      ),
    )
    const answering = answerOf(socket)
    socket.write(`${JSON.stringify({ gateway, offer })}\n`)
    const answer = v.parse(answerSchema, JSON.parse(await answering))
    if ('error' in answer) throw toldError(answer.error.code, answer.error.message)
    return { ended, [Symbol.dispose]: () => void socket.destroy() }
  } catch (error) {
    socket.destroy()
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
