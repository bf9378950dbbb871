// A command's way to a gateway: the running one's socket, a gateway of its own, several at once, what stands in the way, interruption.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { expect, test } from 'vitest'
import { withCatalog } from '../../../gateway/commands/local.ts'
import { withGateway, withTenantPeer } from '../../../gateway/commands/remote.ts'
import { onTenants } from '../../../gateway/commands/tenants.ts'
import { CatalogLock } from '../../../gateway/catalog/sqlite/catalog-lock.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { StoreLock } from '../../../gateway/folder/store-lock.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
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
  withTenantPeer(folder, tenant, async ({ peer, signal }) => {
    const { machines } = await peer.call('machines.list', {}, { signal })
    return machines.length
  })

test('beside a running gateway it is that gateway which answers', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await using gateway = await startGateway({ folder })
  const identity = await gateway.enrolAgent(temp.join('state'))
  await gateway.connectAgent(identity, ['db1'])
  const online = await withTenantPeer(
    folder,
    TENANT,
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
  const failing = withTenantPeer(folder, TENANT, async () => {
    expect(existsSync(socketOf(folder))).toBe(true)
    throw new VarveError('POINT_HELD', 'no')
  })
  expect(await codeOf(failing)).toBe('POINT_HELD')
  expect(existsSync(socketOf(folder))).toBe(false)
  // the lock is free again
  using _lock = new StoreLock(path.join(folder, 'lock.db'))
})

test('a gateway that goes while it works for a command is told with the way out', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  const gateway = await startGateway({ folder })
  const lost = withTenantPeer(folder, TENANT, async ({ peer }) => {
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
      withTenantPeer(folder, TENANT, async ({ peer }) => {
        await new Promise((resolve) => void setTimeout(resolve, 20))
        return (await peer.call('machines.list', {})).machines.length
      }).catch((error: unknown) => error),
    ),
  )
  // one that used another's gateway may be told that it goes, which is an error to try again after
  for (const count of counts) if (count !== 0) expect(count).toMatchObject({ retry: true })
  expect(counts).toContain(0)
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
  const work = onTenants(
    { data: folder },
    async ({ peer }, tenant) => {
      if (tenant === 'beta') throw new VarveError('MAINTENANCE_RUNNING', 'busy')
      return (await peer.call('machines.list', {})).machines.length
    },
    ({ tenant, result }) => void seen.push(`${tenant} ${result}`),
  )
  await expect(work).rejects.toMatchObject({ code: 'MAINTENANCE_RUNNING', message: 'beta: busy' })
  expect(seen).toEqual([`${TENANT} 0`, 'gamma 0'])
  const one = onTenants(
    { data: folder, tenant: 'beta' },
    async (_, tenant) => tenant,
    ({ result }) => void seen.push(result),
  )
  await one
  expect(seen.at(-1)).toBe('beta')
  const going = onTenants(
    { data: folder },
    async (_, tenant) => {
      seen.push(`asked ${tenant}`)
      throw new VarveError('GOING_AWAY', 'bye')
    },
    () => {},
  )
  expect(await codeOf(going)).toBe('GOING_AWAY')
  expect(seen.filter((line) => line.startsWith('asked'))).toEqual([`asked ${TENANT}`])
  const empty = temp.join('empty')
  await mkdir(empty)
  const nobody = (): Promise<number> =>
    onTenants(
      { data: empty },
      () => Promise.reject(new Error('nobody is there')),
      () => {},
    )
  expect(await codeOf(nobody())).toBe('CONFIG_INVALID')
  openLocal(path.join(empty, 'catalog.db'))[Symbol.dispose]()
  expect(await nobody()).toBe(0)
})

test('work for several tenants goes through one gateway', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await stopped(folder, 'beta')
  const names = await withGateway(folder, async (gateway) => {
    const first = await gateway.withTenant(TENANT, ({ peer }) => peer.call('machines.list', {}))
    const second = await gateway.withTenant('beta', ({ peer }) => peer.call('machines.list', {}))
    return [first, second]
  })
  expect(names).toEqual([
    { machines: [], next: null },
    { machines: [], next: null },
  ])
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends the work, its gateway and the command with 130', async (signal) => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await stopped(folder)
  const job = await withCatalog(folder, async (catalog) => {
    const tenant = (await catalog.tenants.byName({ name: TENANT }))!
    const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant), 'db1')
    return startJob(catalog, tenant, machine)
  })
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
