// What the page of the browser test runs: the client half of the protocol over the browser's own WebSocket.
import { openSession } from '../../protocol/client.ts'
import { asVarveError } from '../../protocol/errors.ts'
import { RPC_PATH, SUBPROTOCOL } from '../../protocol/limits.ts'
import type { Job, Result } from '../../protocol/methods.ts'
import type { Clock, Peer } from '../../protocol/peer.ts'

const clock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after: (ms, action) => {
    const timer = setTimeout(action, ms)
    return () => clearTimeout(timer)
  },
}

let peer: Peer | null = null

const connected = (): Peer => {
  if (peer === null) throw new Error('sign in first')
  return peer
}

/** The functions that the test calls in the page. */
export interface PageCalls {
  /** Opens a session with the token in its first frame; the role it got, or the code of the refusal. */
  signIn(gateway: string, token: string | null): Promise<string>
  points(): Promise<Result<'points.list'>['points']>
  /** Starts a backup and follows it to its end; every state that was seen. */
  backup(machine: string): Promise<{ states: Job[]; ended: Job }>
  /** The code that a call ends with. */
  codeOfRevoking(): Promise<string>
  /** Resolves with the code that the connection ended with. */
  closed(): Promise<string>
}

const calls: PageCalls = {
  signIn: async (gateway, token) => {
    const socket = new WebSocket(`${gateway}${RPC_PATH}`, SUBPROTOCOL)
    try {
      const session = await openSession({ socket, program: 'browser test', serving: false, token, handlers: {}, clock })
      peer = session.peer
      return session.welcome.role
    } catch (thrown) {
      return asVarveError(thrown).code
    }
  },
  points: async () => (await connected().call('points.list', { machine: null, limit: 100 })).points,
  backup: async (machine) => {
    const { job } = await connected().call('backup.start', { machine, full: false })
    const watching = connected().open('jobs.watch', { job })
    const states: Job[] = []
    for await (const state of watching.messages) states.push(state)
    return { states, ended: await watching.result }
  },
  codeOfRevoking: async () => {
    try {
      await connected().call('agents.revoke', { agent: crypto.randomUUID() })
      return 'none'
    } catch (thrown) {
      return asVarveError(thrown).code
    }
  },
  closed: async () => (await connected().closed).code,
}

Object.assign(globalThis, { varve: calls })
