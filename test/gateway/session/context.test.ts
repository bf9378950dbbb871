// What stands around every method: the role first, the audit entry after, and no word of the inside.
import { expect, test } from 'vitest'
import { guarded, outward, type MethodCode } from '../../../gateway/session/context.ts'
import type { Claims, Role } from '../../../protocol/claims.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { POLICY_DEFAULT } from '../../../protocol/schemas.ts'
import { TestServices } from '../services.ts'
import { servedCall, testAccount } from '../../support/served-call.ts'

const call = servedCall<never>()

const callerOf = (test: TestServices, role: Role): { claims: Claims; address: string; endsMs: number } => ({
  claims: {
    issuer: 'i',
    audience: 'a',
    tenant: test.acme.uuid,
    tenantName: 'acme',
    subject: 'anna',
    role,
    expiresAt: 1,
    tokenId: 't',
  },
  address: '192.0.2.7',
  endsMs: Number.MAX_SAFE_INTEGER,
})

const run = (test: TestServices, role: Role, code: MethodCode<'machines.setPolicy'>): Promise<unknown> =>
  guarded(
    'machines.setPolicy',
    code,
    test.services,
    callerOf(test, role),
    test.acme,
    testAccount(),
  )({ machine: 'db1', policy: POLICY_DEFAULT }, call)

test('the code of a forbidden method does not run', async () => {
  await using test = await TestServices.open()
  let ran = false
  const code = async () => {
    ran = true
    return {}
  }
  await expect(run(test, 'viewer', code)).rejects.toMatchObject({ code: 'ROLE_FORBIDDEN' })
  expect(ran).toBe(false)
  await run(test, 'owner', code)
  expect(ran).toBe(true)
  const entries = (await test.audited(test.acme)).map(({ role, outcome, resource }) => [role, outcome, resource])
  expect(entries).toEqual([
    ['viewer', 'ROLE_FORBIDDEN', 'machine=db1'],
    ['owner', 'ok', 'machine=db1'],
  ])
})

test('what fails inside reaches the caller without its words, and the audit log with its code', async () => {
  await using test = await TestServices.open()
  const failing = run(test, 'owner', () => Promise.reject(new TypeError('secret of /the/inside')))
  await expect(failing).rejects.toMatchObject({ code: 'INTERNAL', message: 'the gateway failed; its log says more' })
  expect(await test.audited(test.acme)).toMatchObject([{ outcome: 'INTERNAL', details: { address: '192.0.2.7' } }])
  const known = new VarveError('JOB_RUNNING', 'words', { details: { job: 'j' } })
  expect(outward(known)).toBe(known)
})

test('of damage a caller is told the id, and not where it lies', async () => {
  await using test = await TestServices.open()
  const details = { id: 'ab', type: 1, pack: 'p', offset: 48, lostCount: 2 }
  const error = new VarveError('DATA_DAMAGED', 'words', { details })
  const failing = run(test, 'owner', () => Promise.reject(error))
  const told = { code: 'DATA_DAMAGED', message: 'words', details: { id: 'ab', lostCount: 2 } }
  expect(await failing.catch(({ code, message, details }: VarveError) => ({ code, message, details }))).toEqual(told)
})

test('an agent is confined to itself, a person is not', async () => {
  await using test = await TestServices.open()
  const seen: (string | null)[] = []
  const look = (role: Role) =>
    guarded(
      'machines.list',
      async (_, { onlyAgent }) => {
        seen.push(onlyAgent)
        return { machines: [] }
      },
      test.services,
      callerOf(test, role),
      test.acme,
      testAccount(),
    )({}, call)
  await look('agent')
  await look('owner')
  expect(seen).toEqual(['anna', null])
})
