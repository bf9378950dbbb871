// A success whose answer is lost is said again, and never turned into a failure. Method: a peer that answers as told.
import { expect, test } from 'vitest'
import { endAsSuccess } from '../../../agent/commands/lease-end.ts'
import { VarveError, type ErrorCode } from '../../../protocol/errors.ts'

const held = { machine: 'db1', lease: '3f0f4d1e-5c5b-4a51-9a65-0d6f8ad1b5a2' }

/** What each call is answered with, null for its success; and what was said. */
const contextOf = (...answers: readonly (ErrorCode | null)[]) => {
  const said: boolean[] = []
  const call = async (_: string, { success }: { success: boolean }): Promise<void> => {
    const code = answers[Math.min(said.push(success), answers.length) - 1]
    if (code) throw new VarveError(code, 'x')
  }
  const { signal } = new AbortController()
  const insist = (work: (limitMs: number) => Promise<void>): Promise<void> => work(1000)
  const context = { signal, insist, link: { peer: () => Promise.resolve({ call }) } }
  return { said, context: context as unknown as Parameters<typeof endAsSuccess>[0] }
}

test('it is said until its outcome is known', async () => {
  const heard = contextOf('DEADLINE_EXCEEDED', 'CONNECTION_LOST', null)
  await endAsSuccess(heard.context, held)
  expect(heard.said).toEqual([true, true, true])
  const failed = contextOf('DEADLINE_EXCEEDED', 'LEASE_LOST')
  await expect(endAsSuccess(failed.context, held)).rejects.toMatchObject({ code: 'LEASE_LOST', message: 'x' })
  const never = contextOf('DEADLINE_EXCEEDED')
  const message = expect.stringContaining(`it is not known whether lease ${held.lease} of db1 ended as a success`)
  await expect(endAsSuccess(never.context, held, 0)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', message })
  expect([failed.said, never.said]).toEqual([[true, true], [true]])
})
