// Asks the agent that runs on this host for its state.
import { request } from 'node:http'
import * as v from 'valibot'
import { SocketPath } from '../../protocol/host/socket-path.ts'
import { agentStatus, type AgentStatus } from './agent-status.ts'
import { STATUS_SOCKET } from './status-server.ts'

/** How long it may take to answer, in milliseconds. */
const ANSWER_LIMIT_MS = 5000

/** Longest answer, in bytes: thousands of leases. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024

const textOf = (socketPath: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/status', timeout: ANSWER_LIMIT_MS }, (response) => {
      const parts: Buffer[] = []
      let bytes = 0
      response.on('data', (part: Buffer) => {
        parts.push(part)
        bytes += part.length
        if (bytes > ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too long'))
      })
      response.on('end', () => resolve(Buffer.concat(parts).toString()))
      response.on('error', reject)
    })
    asked.on('timeout', () => asked.destroy(new Error('no answer')))
    asked.on('error', reject)
    asked.end()
  })

/** The state of the agent with this state folder; null where none runs, or it cannot be asked by this user. */
export const askAgent = async (stateFolder: string): Promise<AgentStatus | null> => {
  try {
    await using socket = await SocketPath.of(stateFolder, STATUS_SOCKET)
    return v.parse(agentStatus, JSON.parse(await textOf(socket.path)))
  } catch {
    return null
  }
}
