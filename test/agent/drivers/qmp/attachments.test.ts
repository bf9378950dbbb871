// What goes with a QEMU machine's points: of a real QEMU, of one that is off, and of a guest of Proxmox VE as a host has it.
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { qmpAttachments } from '../../../../agent/drivers/qmp/attachments.ts'
import type { AttachmentSource } from '../../../../agent/attachments/source.ts'
import { readOnlyFlash } from '../../../../agent/qmp/flash.ts'
import { VarveError } from '../../../../protocol/errors.ts'
import { TestMachine } from '../../../support/qemu.ts'
import { tempFolder, type TempFolder } from '../../../support/temp.ts'

const QMP = '/var/run/qemu-server/100.qmp'

const never = () => Promise.reject(new VarveError('QMP_UNAVAILABLE', 'nobody answers'))

const told = (sources: readonly AttachmentSource[]): Record<string, string> =>
  Object.fromEntries(
    sources.map((source) => [
      source.name,
      'path' in source
        ? source.path
        : 'missing' in source
          ? `missing: ${source.missing}`
          : Buffer.from(source.bytes).toString(),
    ]),
  )

/** A folder like /proc, in which one process with this command line listens on a socket. */
const fakeProc = async (temp: TempFolder, args: readonly string[], socket: string): Promise<string> => {
  await mkdir(temp.join('proc', 'net'), { recursive: true })
  await mkdir(temp.join('proc', '77', 'fd'), { recursive: true })
  const row = '0000000000000000: 00000002 00000000 00010000 0001 01 4242'
  await writeFile(
    temp.join('proc', 'net', 'unix'),
    `Num RefCount Protocol Flags Type St Inode Path\n${row} ${socket}\n`,
  )
  await writeFile(temp.join('proc', '77', 'cmdline'), `${args.join('\0')}\0`)
  await symlink('socket:[4242]', temp.join('proc', '77', 'fd', '5'))
  return temp.join('proc')
}

const pveFolder = async (temp: TempFolder): Promise<string> => {
  for (const folder of ['qemu-server', 'firewall']) await mkdir(temp.join('pve', folder), { recursive: true })
  await writeFile(temp.join('pve', 'qemu-server', '100.conf'), 'memory: 64\n')
  return temp.join('pve')
}

test('a real QEMU gives its command line and firmware; flash that its guest writes is a disk', async () => {
  await using temp = await tempFolder()
  const [code, vars] = [temp.join('code.fd'), temp.join('vars.fd')]
  for (const file of [code, vars]) await writeFile(file, Buffer.alloc(128 * 1024))
  const drive = (unit: number, file: string, readonly: string) => [
    '-drive',
    `if=pflash,unit=${unit},format=raw,readonly=${readonly},file=${file}`,
  ]
  await using machine = new TestMachine({
    folder: temp.path,
    disks: [],
    extra: [...drive(0, code, 'on'), ...drive(1, vars, 'off'), '-object', 'secret,id=s,data=hunter2'],
  })
  await machine.start()
  const { qmpPath, control } = machine
  expect(await readOnlyFlash(control)).toEqual([{ index: 0, fileName: code }])
  const sources = told(await qmpAttachments({ qmpPath, tpmState: '/tpm', connect: async () => control }))
  expect(sources).toEqual({ 'command-line': expect.stringContaining('qemu-system'), pflash0: code, swtpm: '/tpm' })
  expect(sources['command-line']).not.toContain('hunter2')
  expect(told(await qmpAttachments({ qmpPath, tpmState: null, connect: never }))).toMatchObject({
    pflash: 'missing: QEMU cannot be asked for the firmware: nobody answers',
  })
})

test('a machine that is off has no command line, and keeps its TPM and its configuration', async () => {
  await using temp = await tempFolder()
  const places = { proc: '/proc', pve: await pveFolder(temp) }
  const off = await qmpAttachments({ qmpPath: QMP, tpmState: '/tpm', connect: never, places })
  expect(told(off)).toEqual({
    'command-line': expect.stringContaining('missing: no process of this host listens on'),
    swtpm: '/tpm',
    'pve/100.conf': temp.join('pve', 'qemu-server', '100.conf'),
  })
  const other = await qmpAttachments({ qmpPath: '/run/varve/db1.qmp', tpmState: null, connect: never, places })
  expect(Object.keys(told(other))).toEqual(['command-line'])
})

test('Proxmox VE’s configuration and firewall come where command line and monitor name one guest', async () => {
  await using temp = await tempFolder()
  const pve = await pveFolder(temp)
  const own = '/run/varve/100.qmp'
  const command = (id: string) => [
    '/usr/bin/kvm',
    '-id',
    id,
    '-chardev',
    `socket,id=qmp,path=${QMP},server=on,wait=off`,
    '-mon',
    'chardev=qmp,mode=control',
  ]
  const proc = await fakeProc(temp, command('100'), own)
  const machine = { qmpPath: own, tpmState: null, connect: never, places: { proc, pve } }
  expect(Object.keys(told(await qmpAttachments(machine)))).toEqual(['command-line', 'pflash', 'pve/100.conf'])
  await writeFile(temp.join('pve', 'firewall', '100.fw'), '[OPTIONS]\n')
  expect(Object.keys(told(await qmpAttachments(machine)))).toEqual([
    'command-line',
    'pflash',
    'pve/100.conf',
    'pve/100.fw',
  ])
  await writeFile(temp.join('proc', '77', 'cmdline'), `${command('200').join('\0')}\0`)
  expect(Object.keys(told(await qmpAttachments(machine)))).toEqual(['command-line', 'pflash'])
})
