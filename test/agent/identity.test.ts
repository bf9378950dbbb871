// The agent's identity on disk: secret, whole after any crash, and accepted by a real gateway's checks.
import { randomUUID } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { Identity, NewIdentity, type IdentityRecord } from '../../agent/identity.ts'
import { removeUnnamed } from '../../protocol/host/secret-file.ts'
import { STATE_FOLDER_MODE } from '../../agent/state-folder.ts'
import { enrol, issueEnrolment } from '../../gateway/auth/tokens.ts'
import { verifyBearer } from '../../gateway/auth/bearer.ts'
import { ASSERTION_LIFE_S } from '../../protocol/claims.ts'
import { codeOf, decodePart, NOW_MS, testAuthority } from '../gateway/auth/test-authority.ts'
import { failureOf } from './restore/code-of.ts'
import { tempFolder } from '../support/temp.ts'

const record = (): IdentityRecord => ({
  agentId: randomUUID(),
  issuer: `varve:${randomUUID()}`,
  gateway: 'wss://backup.example:8470',
  tenant: randomUUID(),
  tenantName: 'acme',
})

const keyOf = (folder: string, { agentId }: IdentityRecord): string => `${folder}/agent-${agentId}.key`

test('a gateway accepts the assertions of an agent that enrolled', async () => {
  await using gateway = await testAuthority()
  await using temp = await tempFolder()
  const { authority, acme } = gateway
  const fresh = await NewIdentity.generate()
  const request = { tenant: acme, ttlMs: 60_000, nowMs: NOW_MS }
  const { token } = await issueEnrolment(authority, request)
  const enrolled = await enrol(authority, { token, publicKey: fresh.publicKey, host: 'hv1', nowMs: NOW_MS })
  await fresh.save(temp.join('state'), { ...enrolled, gateway: 'wss://backup.example:8470' })
  const identity = await Identity.load(temp.join('state'))
  const assertion = await identity.assertion(NOW_MS + 500)
  const claims = await verifyBearer(authority, assertion, NOW_MS)
  expect(claims).toMatchObject({ subject: enrolled.agentId, role: 'agent', tenant: acme.id })
  const endMs = (NOW_MS / 1000 + ASSERTION_LIFE_S) * 1000
  expect(await codeOf(verifyBearer(authority, assertion, endMs - 1))).toBe('none')
  expect(await codeOf(verifyBearer(authority, assertion, endMs))).toBe('TOKEN_EXPIRED')
  expect(decodePart(await identity.assertion(NOW_MS), 1)['jti']).not.toBe(decodePart(assertion, 1)['jti'])
})

test('what was saved is what is loaded, for its owner alone', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('a', 'state')
  const saved = record()
  await (await NewIdentity.generate()).save(folder, saved)
  expect((await Identity.load(folder)).record).toEqual(saved)
  expect((await stat(folder)).mode & 0o777).toBe(STATE_FOLDER_MODE)
  const names = await readdir(folder)
  expect(names.sort()).toEqual([`agent-${saved.agentId}.key`, 'identity.json'])
  for (const name of names) expect((await stat(`${folder}/${name}`)).mode & 0o777).toBe(0o600)
})

test('a new enrolment takes the place of the old one, which is kept beside', async () => {
  await using temp = await tempFolder()
  const [one, two] = [record(), record()]
  await (await NewIdentity.generate()).save(temp.path, one)
  await (await NewIdentity.generate()).save(temp.path, two)
  expect((await Identity.load(temp.path)).record).toEqual(two)
  expect((await readdir(temp.path)).sort()).toEqual([`agent-${two.agentId}.key`, 'former', 'identity.json'])
  expect((await Identity.load(temp.join('former', one.agentId))).record).toEqual(one)
})

test('a prepared key is durable before it is anyone’s, and goes where nothing comes of it', async () => {
  await using temp = await tempFolder()
  {
    await using fresh = await NewIdentity.generate()
    await fresh.prepare(temp.join('state'))
    expect(await readdir(temp.join('state'))).toEqual([expect.stringMatching(/^\..*\.tmp$/u)])
  }
  expect(await readdir(temp.join('state'))).toEqual([])
})

test('what a killed enrolment left is removed, and nothing else', async () => {
  await using temp = await tempFolder()
  const fresh = await NewIdentity.generate()
  await fresh.prepare(temp.path)
  await writeFile(temp.join('.half.tmp'), 'of somebody else')
  await removeUnnamed(temp.path)
  expect(await readdir(temp.path)).toEqual(['.half.tmp'])
})

test('a crash between the two files of a new enrolment leaves the old one good', async () => {
  await using temp = await tempFolder()
  const [one, two] = [record(), record()]
  await (await NewIdentity.generate()).save(temp.path, one)
  // as a crash leaves it: the new key is there, the record still the old one, a temporary file beside
  await writeFile(keyOf(temp.path, two), await readFile(keyOf(temp.path, one)), { mode: 0o600 })
  await writeFile(temp.join('.half.tmp'), '{', { mode: 0o600 })
  expect((await Identity.load(temp.path)).record).toEqual(one)
})

test('not enrolled: no folder, an empty one, a lost key', async () => {
  await using temp = await tempFolder()
  expect(await codeOf(Identity.load(temp.join('none')))).toBe('NOT_ENROLLED')
  await mkdir(temp.join('empty'))
  expect(await codeOf(Identity.load(temp.join('empty')))).toBe('NOT_ENROLLED')
  const saved = record()
  await (await NewIdentity.generate()).save(temp.path, saved)
  await rm(keyOf(temp.path, saved))
  expect(await codeOf(Identity.load(temp.path))).toBe('NOT_ENROLLED')
})

test('files that others may read are refused', async () => {
  await using temp = await tempFolder()
  const saved = record()
  await (await NewIdentity.generate()).save(temp.path, saved)
  for (const file of [keyOf(temp.path, saved), temp.join('identity.json')]) {
    await chmod(file, 0o604)
    expect((await failureOf(Identity.load(temp.path)))?.message).toContain(`chmod 600 ${file}`)
    await chmod(file, 0o600)
  }
  expect(await codeOf(Identity.load(temp.path))).toBe('none')
})

test('a folder in place of a file is called what it is', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('identity.json'))
  expect(await failureOf(Identity.load(temp.path))).toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('is not a file: move it away') as string,
  })
})

test('damaged files are refused, and no error or log shows the key', async () => {
  await using temp = await tempFolder()
  const saved = record()
  const identity = await (await NewIdentity.generate()).save(temp.path, saved)
  const key = await readFile(keyOf(temp.path, saved), 'utf8')
  const { d } = JSON.parse(key) as { d: string }
  expect(JSON.stringify(identity) + inspect(identity, { depth: 9, showHidden: true })).not.toContain(d)
  for (const file of [temp.join('identity.json'), keyOf(temp.path, saved)]) {
    const whole = await readFile(file, 'utf8')
    for (const text of ['', '[]', '{}', whole.slice(0, -10), 'x'.repeat(100_000)]) {
      await writeFile(file, text)
      const loaded = Identity.load(temp.path)
      expect(await codeOf(loaded), text.slice(0, 10)).toBe('CONFIG_INVALID')
      expect(inspect(await loaded.catch((error: unknown) => error))).not.toContain(d)
    }
    await writeFile(file, whole)
  }
  await writeFile(keyOf(temp.path, saved), key.replace(d, d.split('').reverse().join('')))
  expect(await codeOf(Identity.load(temp.path))).toBe('CONFIG_INVALID')
})

test('an answer of a gateway that is no identity is not saved', async () => {
  await using temp = await tempFolder()
  const fresh = await NewIdentity.generate()
  for (const change of [{ agentId: '../../etc/x' }, { issuer: 'x' }, { tenant: '' }, { gateway: '' }])
    expect(await codeOf(fresh.save(temp.path, { ...record(), ...change }))).toBe('CONFIG_INVALID')
  expect(await readdir(temp.path)).toEqual([])
  expect(JSON.stringify(fresh)).toBe(JSON.stringify({ publicKey: fresh.publicKey }))
})
