// The plug-ins for Proxmox VE against a real gateway, agent and QEMU: full, increment, a failure and what follows it, everything
// back. Method: vzdump.ts calls them in the order of qemu-server; VARVE_PROXMOX_LOG names a file for its log.
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { chmod, chown, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { LeaseHolder } from '../support/lease-holder.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB, ModelMachine, type ModelDisk } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import { Stand } from '../support/stand.ts'
import { eventually, tempFolder } from '../support/temp.ts'
import { SCFG, told, Vzdump } from './vzdump.ts'

const DISKS: readonly ModelDisk[] = [
  { id: 'scsi0', format: 'qcow2', size: 8 * MIB, content: new Dice(60).bytes(8 * MIB) },
  { id: 'efidisk0', format: 'raw', size: 512 * KIB, content: new Dice(61).bytes(512 * KIB) },
]

const CONFIG = `boot: order=scsi0
memory: 4096
scsi0: local:100/vm-100-disk-0.qcow2,size=8M
smbios1: uuid=0B7C61D5-E214-4C58-8F6A-3F2A91C09D2E
`

const PROXMOX = path.resolve(import.meta.dirname, '../../agent/proxmox')

test('the plug-ins compile, and the provider has every method of the interface', async () => {
  for (const file of globSync('**/*.pm', { cwd: PROXMOX })) {
    const args = ['-c', '-I', PROXMOX, '-I', path.join(import.meta.dirname, 'perl'), path.join(PROXMOX, file)]
    const { stderr } = spawnSync('perl', args, { encoding: 'utf8' })
    expect(stderr).toBe(`${path.join(PROXMOX, file)} syntax OK\n`)
  }
  await using stand = await Stand.start()
  await using vzdump = await Vzdump.start(stand.folder.path, '/nowhere.toml')
  expect(await vzdump.call('provider', 'undefined', [], true)).toEqual([])
  await expect(vzdump.provider('backup_init', 101, 'lxc', 0)).rejects.toThrow('is a container')
  await expect(vzdump.provider('job_init', 0)).rejects.toThrow('/nowhere.toml: there is no such file')
})

test('what only root may say is taken from a file of root alone, and from nowhere else', async () => {
  await using folder = await tempFolder()
  await using vzdump = await Vzdump.start(folder.path, '/nowhere.toml')
  const list = (scfg: Readonly<Record<string, string>>): Promise<unknown> =>
    vzdump.storage('list_volumes', 'varve', { ...SCFG, ...scfg }, null, ['backup'])
  await expect(list({ 'varve-program': '/bin/false', 'varve-config': '/other.toml' })).rejects.toThrow('/nowhere.toml')
  await chmod(vzdump.settingsFile, 0o620)
  await expect(list({})).rejects.toThrow('may be written by others than root')
  await chmod(vzdump.settingsFile, 0o600)
  await chown(vzdump.settingsFile, 65_534, 65_534)
  await expect(list({})).rejects.toThrow('must be owned by root')
  await rename(vzdump.settingsFile, folder.join('real.json'))
  await symlink('real.json', vzdump.settingsFile)
  await expect(list({})).rejects.toThrow('is a symbolic link')
})

test('full, increment, a failure whose changes the next one has, volumes and configurations back', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  await host.start()
  await using machine = await ModelMachine.start({ name: 'vm', folder: stand.folder.join('vm'), disks: DISKS })
  const holder = new LeaseHolder(machine, stand.folder.path)
  await using vzdump = await Vzdump.start(stand.folder.path, host.configFile)
  const dice = new Dice(62)
  const write = async (): Promise<void> => {
    for (const { id, size } of DISKS) await machine.write(id, 64 * KIB * dice.below(size / 64 / KIB), dice.bytes(4096))
  }
  const job = { vmid: 100, machine, holder, config: CONFIG, firewall: '[OPTIONS]\nenable: 1\n', meanwhile: write }
  const first = await vzdump.run(job)
  expect(first).toMatchObject({ error: null, modes: { scsi0: 'new new', efidisk0: 'new new' } })
  const expected = machine.snapshot()
  const second = await vzdump.run({ ...job, meanwhile: write })
  expect(second).toMatchObject({ error: null, modes: { scsi0: 'use reuse', efidisk0: 'use reuse' } })
  await write()
  // one that is interrupted, as by "Stop" in the task's window
  const failed = await vzdump.run({
    ...job,
    bandwidth: 1024,
    onBackup: async () => {
      await eventually(async () => (await stand.jobs()).some(({ state }) => state === 'running'))
      process.kill(vzdump.pid, 'SIGTERM')
    },
  })
  expect(failed.error).toContain('interrupted by signal')
  await eventually(async () => (await stand.jobs()).every(({ state }) => state !== 'running'))
  await write()
  const last = machine.snapshot()
  const third = await vzdump.run({ ...job, config: `${CONFIG}cores: 2\n` })
  expect(third).toMatchObject({ error: null, modes: { scsi0: 'use reuse', efidisk0: 'use reuse' } })
  const points = await stand.listPoints()
  expect(points.map(({ kind }) => kind)).toEqual(['incremental', 'incremental', 'full'])

  const volumes = (await vzdump.storage('list_volumes', 'varve', SCFG, null, ['backup'])) as {
    readonly volid: string
    readonly vmid: string
    readonly size: number
  }[]
  expect(volumes.map(({ volid }) => volid)).toEqual(
    [third, second, first].map(({ archive }) => `varve:backup/${archive}`),
  )
  const volname = `backup/${third.archive}`
  expect(await vzdump.call('provider', 'restore_get_mechanism', [volname], true)).toEqual(['qemu-img', 'qemu'])
  expect(await vzdump.provider('archive_get_guest_config', volname)).toBe(`${CONFIG}cores: 2\n`)
  expect(await vzdump.provider('archive_get_firewall_config', volname)).toBe('[OPTIONS]\nenable: 1\n')
  const sizes = await vzdump.provider('restore_vm_init', volname)
  expect(sizes).toEqual({ scsi0: { size: 8 * MIB }, efidisk0: { size: 512 * KIB } })
  for (const [name, content] of [
    [volname, last],
    [`backup/${second.archive}`, expected],
  ] as const) {
    for (const { id } of DISKS) {
      const source = (await vzdump.provider('restore_vm_volume_init', name, id, {})) as { 'qemu-img-path': string }
      const target = stand.folder.join(`${id}.raw`)
      await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', source['qemu-img-path'], target])
      expect((await readFile(target)).equals(content.get(id)!), id).toBe(true)
      await vzdump.provider('restore_vm_volume_cleanup', name, id, {})
    }
    await vzdump.provider('restore_vm_cleanup', name)
  }
  await expect(vzdump.storage('free_image', 'varve', SCFG, volname)).rejects.toThrow('an agent may not delete them')
  const tokenFile = stand.folder.join('token')
  await writeFile(tokenFile, await stand.token('operator'), { mode: 0o600 })
  await vzdump.set({ gateway: stand.url, tokenFile })
  await vzdump.storage('free_image', 'varve', SCFG, `backup/${first.archive}`)
  expect(await stand.listPoints()).toHaveLength(2)
  expect((await readdir(stand.folder.path)).filter((name) => /^varve-.{8}$/u.test(name))).toEqual([])
  expect(await host.residue()).toMatchObject({ journal: [] })
  told(vzdump)
})
