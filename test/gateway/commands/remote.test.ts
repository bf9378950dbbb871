// A command's way to a gateway: the running one's socket, a gateway of its own, several at once, what stands in the way,
// interruption.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { expect, test } from 'vitest'
import { overTenants } from '../../../gateway/commands/over-tenants.ts'
import { placeOf, withGateway, withSession, withTenant, type Remote } from '../../../gateway/commands/remote.ts'
import { CatalogLock } from '../../../gateway/catalog/sqlite/catalog-lock.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { StoreLock } from '../../../gateway/folder/store-lock.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { makeCertificate } from '../../support/certificates.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addAgent, addMachine, startJob } from '../catalog.ts'

const socketOf = (folder: string): string => path.join(folder, 'gateway.sock')

/** The data folder of a gateway that was stopped, with the tenants named. */
const stopped = async (folder: string, ...more: string[]): Promise<void> => {
  await using gateway = await startGateway({ folder })
  for (const name of more) await gateway.addTenant(name)
}

const machinesOf = (folder: string, tenant: string): Promise<number> =>
  withTenant({ data: folder, tenant }, async ({ peer, signal }) => {
    const { machines } = await peer.call('machines.list', {}, { signal })
    return machines.length
  })

test('beside a running gateway it is that gateway which answers', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await using gateway = await startGateway({ folder })
  const identity = await gateway.enrolAgent(temp.join('state'))
  await gateway.connectAgent(identity, ['db1'])
  const online = await withTenant(
    { data: folder, tenant: TENANT },
    async ({ peer }) => (await peer.call('machines.list', {})).machines,
  )
  // only the running one can know it
  expect(online).toMatchObject([{ name: 'db1', online: true }])
  expect(await codeOf(machinesOf(folder, 'nobody'))).toBe('NOT_FOUND')
  expect(existsSync(socketOf(folder))).toBe(true)
})

test('where none runs, the command opens one for itself and leaves nothing behind', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await stopped(folder)
  expect(await machinesOf(folder, TENANT)).toBe(0)
  expect(existsSync(socketOf(folder))).toBe(false)
  expect(await codeOf(machinesOf(folder, 'nobody'))).toBe('NOT_FOUND')
  const failing = withTenant({ data: folder, tenant: TENANT }, async () => {
    expect(existsSync(socketOf(folder))).toBe(true)
    throw new VarveError('POINT_HELD', 'no')
  })
  expect(await codeOf(failing)).toBe('POINT_HELD')
  expect(existsSync(socketOf(folder))).toBe(false)
  // the lock is free again
  using _lock = new StoreLock(path.join(folder, 'lock.db'))
})

test('where none runs, no agent is looked for: the gateway is what must be started', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  const status = (): Promise<unknown> =>
    withTenant({ data: folder, tenant: TENANT }, ({ peer }) => peer.call('machines.status', { machine: 'db1' }))
  {
    await using gateway = await startGateway({ folder })
    const { catalog } = gateway
    const tenant = await gateway.addTenant(TENANT)
    await addMachine(catalog, tenant, await addAgent(catalog, tenant, 'host1'), 'db1')
    await expect(status()).rejects.toMatchObject({
      code: 'AGENT_OFFLINE',
      message: expect.stringContaining('is "varve-agent run" running?') as string,
    })
  }
  await expect(status()).rejects.toMatchObject({
    code: 'AGENT_OFFLINE',
    message: `no gateway runs in ${folder}, so that no agent is connected: start it with "varve-gateway serve"`,
  })
})

test('a gateway that goes while it works for a command is told with the way out', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  const gateway = await startGateway({ folder })
  const lost = withTenant({ data: folder, tenant: TENANT }, async ({ peer }) => {
    await gateway[Symbol.asyncDispose]()
    return await peer.call('machines.list', {})
  })
  await expect(lost).rejects.toThrow(/run the command again; what is done is kept$/u)
})

test('commands at the same time share a gateway or wait for one another', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await stopped(folder)
  const counts = await Promise.all(
    Array.from({ length: 4 }, () =>
      withTenant({ data: folder, tenant: TENANT }, async ({ peer }) => {
        await new Promise((resolve) => void setTimeout(resolve, 20))
        return (await peer.call('machines.list', {})).machines.length
      }).catch((error: unknown) => error),
    ),
  )
  expect(counts).toEqual([0, 0, 0, 0])
  expect(existsSync(socketOf(folder))).toBe(false)
})

test('a folder that is not there or is held by something else is refused with its name', async () => {
  await using temp = await tempFolder()
  await expect(machinesOf(temp.join('nowhere'), TENANT)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(temp.join('nowhere')) as string,
  })
  expect(existsSync(temp.join('nowhere'))).toBe(false)
  const folder = temp.join('data')
  await stopped(folder)
  {
    using _rebuild = CatalogLock.take(folder)
    await expect(machinesOf(folder, TENANT)).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      message: expect.stringContaining('repair --rebuild') as string,
    })
  }
  const lock = new StoreLock(path.join(folder, 'lock.db'))
  const waiting = machinesOf(folder, TENANT)
  setTimeout(() => lock[Symbol.dispose](), 500)
  expect(await waiting).toBe(0)
})

test('a gateway that breaks connections off while it stops is waited for', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await stopped(folder)
  const lock = new StoreLock(path.join(folder, 'lock.db'))
  let broken = 0
  const going = createServer((socket) => {
    socket.on('error', () => {})
    socket.destroy()
    if (++broken < 3) return
    going.close()
    lock[Symbol.dispose]()
  })
  going.listen(socketOf(folder))
  await once(going, 'listening')
  expect(await machinesOf(folder, TENANT)).toBe(0)
  expect(broken).toBe(3)
})

test('all tenants, one after the other; one that fails does not keep the others from theirs', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await stopped(folder, 'beta', 'gamma')
  const seen: string[] = []
  const over = (
    data: string,
    tenant: string | undefined,
    work: (remote: Remote, tenant: string) => Promise<unknown>,
  ): Promise<number> =>
    withGateway({ data }, (reached) =>
      overTenants(reached, tenant, work, (name, result) => void seen.push(`${name} ${String(result)}`)),
    )
  const work = over(folder, undefined, async ({ peer }, tenant) => {
    if (tenant === 'beta') throw new VarveError('MAINTENANCE_RUNNING', 'busy')
    return (await peer.call('machines.list', {})).machines.length
  })
  await expect(work).rejects.toMatchObject({ code: 'MAINTENANCE_RUNNING', message: 'beta: busy' })
  expect(seen).toEqual([`${TENANT} 0`, 'gamma 0'])
  await over(folder, 'beta', async ({ tenant }) => tenant)
  expect(seen.at(-1)).toBe('beta beta')
  const going = over(folder, undefined, async (_, tenant) => {
    seen.push(`asked ${tenant}`)
    throw new VarveError('GOING_AWAY', 'bye')
  })
  expect(await codeOf(going)).toBe('GOING_AWAY')
  expect(seen.filter((line) => line.startsWith('asked'))).toEqual([`asked ${TENANT}`])
  const empty = temp.join('empty')
  await mkdir(empty)
  const nobody = (): Promise<number> => over(empty, undefined, () => Promise.reject(new Error('nobody is there')))
  expect(await codeOf(nobody())).toBe('CONFIG_INVALID')
  openLocal(path.join(empty, 'catalog.db'))[Symbol.dispose]()
  expect(await nobody()).toBe(0)
})

test('work for several tenants, and of the platform, goes through one gateway', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await stopped(folder, 'beta')
  const found = await withGateway({ data: folder }, async (reached) => {
    const tenantOf = async ({ peer, tenant }: Remote): Promise<string | null> => {
      if (tenant !== null) await peer.call('machines.list', {})
      return tenant
    }
    return [
      await reached.session(TENANT, tenantOf),
      await reached.session('beta', tenantOf),
      await reached.session(null, tenantOf),
    ]
  })
  expect(found).toEqual([TENANT, 'beta', null])
  expect(await codeOf(withTenant({ data: folder }, async () => null))).toBe('PARAMS_INVALID')
})

test('with a token the way leads to any gateway, as whom the token is of', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  await gateway.addTenant('beta')
  const tokenFile = temp.join('token')
  await writeFile(tokenFile, await gateway.tokenFor('viewer'), { mode: 0o600 })
  const way = { gateway: gateway.url, tokenFile }
  expect(await withTenant(way, async ({ peer, tenant }) => [tenant, await peer.call('machines.list', {})])).toEqual([
    TENANT,
    { machines: [], next: null },
  ])
  expect(await withSession({ ...way, tenant: TENANT }, async ({ tenant }) => tenant)).toBe(TENANT)
  const audit = withTenant(way, ({ peer }) => peer.call('audit.list', {}))
  await expect(audit).rejects.toMatchObject({ code: 'ROLE_FORBIDDEN' })
  await expect(withTenant({ ...way, tenant: 'beta' }, async () => null)).rejects.toMatchObject({
    code: 'PARAMS_INVALID',
    message: expect.stringContaining('the token belongs to the tenant "acme", not to "beta"') as string,
  })
  await chmod(tokenFile, 0o644)
  await expect(withTenant(way, async () => null)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(`chmod 600 ${tokenFile}`) as string,
  })
})

test('a certificate of an authority of one’s own is trusted where it is named, and the words are those of options', async () => {
  await using temp = await tempFolder()
  const pair = await makeCertificate(temp.path, 'gateway')
  const [key, cert] = await Promise.all([readFile(pair.key), readFile(pair.cert)])
  await using gateway = await startGateway({ folder: temp.join('data'), tls: { key, cert, ca: cert } })
  const tokenFile = temp.join('token')
  await writeFile(tokenFile, await gateway.tokenFor('viewer'), { mode: 0o600 })
  const way = { gateway: gateway.url, tokenFile }
  expect(await withTenant({ ...way, ca: pair.cert }, async ({ tenant }) => tenant)).toBe(TENANT)
  await expect(withTenant(way, async () => null)).rejects.toMatchObject({
    code: 'CONNECTION_LOST',
    message: expect.stringContaining('set --ca to a copy of it') as string,
  })
})

test('options and variables name one gateway, or are refused with what is wrong', () => {
  const [url, token] = ['wss://backup.example:8470', '/token']
  const away = { gateway: url, tokenFile: token, ca: undefined }
  expect(placeOf({}, {})).toEqual({ data: '/var/lib/varve-gateway' })
  expect(placeOf({}, { VARVE_DATA: '/data' })).toEqual({ data: '/data' })
  expect(placeOf({ gateway: url, tokenFile: token }, { VARVE_DATA: '/data' })).toEqual(away)
  expect(placeOf({}, { VARVE_GATEWAY: url, VARVE_TOKEN_FILE: token, VARVE_CA: '/ca' })).toEqual({ ...away, ca: '/ca' })
  // what is typed goes before what is set
  expect(placeOf({ data: '/data' }, { VARVE_GATEWAY: url })).toEqual({ data: '/data' })
  for (const [way, env, why] of [
    [{ data: '/data', gateway: url }, {}, '--data and --gateway exclude each other'],
    [{}, { VARVE_DATA: '/data', VARVE_GATEWAY: url }, 'VARVE_DATA and VARVE_GATEWAY are both set'],
    [{ gateway: url }, {}, '--token-file FILE, or VARVE_TOKEN_FILE'],
    [{ tokenFile: token }, {}, 'go with --gateway URL'],
    [{ gateway: 'https://backup.example', tokenFile: token }, {}, 'use "wss://backup.example"'],
    [{ gateway: 'ws://backup.example', tokenFile: token }, {}, 'is not encrypted; use wss://'],
    [{}, { VARVE_DATA: '' }, 'VARVE_DATA'],
  ] as const)
    expect(() => placeOf(way, env)).toThrow(
      expect.objectContaining({ code: 'PARAMS_INVALID', message: expect.stringContaining(why) as string }),
    )
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends the work, its gateway and the command with 130', async (signal) => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await stopped(folder)
  let job: string
  {
    using catalog = openLocal(path.join(folder, 'catalog.db'))
    const tenant = (await catalog.tenants.byName({ name: TENANT }))!
    const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant), 'db1')
    job = await startJob(catalog, tenant, machine)
  }
  for (const beside of [false, true]) {
    await using stack = new AsyncDisposableStack()
    if (beside) stack.use(await startGateway({ folder }))
    const args = [path.join(import.meta.dirname, 'watch-child.ts'), folder, TENANT, job]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = once(child, 'close')
    await once(child.stdout, 'data')
    child.kill(signal)
    expect(await ended).toEqual([EXIT.interrupted, null])
    expect(existsSync(socketOf(folder))).toBe(beside)
  }
  using _lock = new StoreLock(path.join(folder, 'lock.db'))
})
