// The start script, run by a shell with something else in QEMU's place.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newRecord, placesIn, type InstantRecord, type Places } from '../../../agent/instant/record.ts'
import { startScript } from '../../../agent/instant/start-script.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'

/** What a shell or QEMU would take amiss. */
const ODD = `it's $HOME, "a" \`b\`\\`

let temp: TempFolder
let places: Places
let record: InstantRecord

beforeAll(async () => {
  temp = await tempFolder()
  const folder = temp.join(ODD)
  await mkdir(folder)
  places = placesIn(folder)
  record = newRecord({
    point: 'p',
    machine: 'db1',
    timeMs: 0,
    begunMs: 0,
    way: { config: temp.join(`${ODD}.toml`) },
    domain: null,
    files: [],
    disks: [
      { name: 'vda', size: 512, file: `${folder}/vda.qcow2`, alone: false, writtenBytes: 0 },
      { name: ODD, size: 512, file: `${folder}/odd.qcow2`, alone: false, writtenBytes: 0 },
    ],
    reconnectMs: 1000,
    cacheBytes: 0,
    speed: 0,
  })
  for (const name of ['qemu', 'agent']) {
    await writeFile(temp.join(name), `#!/bin/sh\nprintf '%s\\n' ${name} "$@"\n`)
    await chmod(temp.join(name), 0o700)
  }
  const script = startScript({ places, record, command: null, agent: temp.join('agent'), extra: ['-m', '4 G', '-x'] })
  await writeFile(places.script, script, { mode: 0o700 })
})

afterAll(async () => {
  await temp[Symbol.asyncDispose]()
})

const run = async (...args: readonly string[]): Promise<string[]> => {
  const env = { ...process.env, QEMU: temp.join('qemu'), MACHINE: '', MEMORY: '64' }
  const { stdout } = await promisify(execFile)(places.script, [...args], { env })
  return stdout.split('\n')
}

const option = (text: string): string => text.replaceAll(',', ',,')

test('disks, monitor and all further arguments reach QEMU as they are', async () => {
  const said = await run('-S', 'two words')
  expect(said[0]).toBe('qemu')
  expect(said).toContain(
    `file=${option(`${places.folder}/odd.qcow2`)},format=qcow2,if=none,id=drive-other1,discard=unmap,rerror=stop,werror=stop`,
  )
  expect(said).toContain('virtio-blk-pci,drive=drive-vda,id=vda')
  expect(said).toContain(`unix:${option(places.ownQmp)},server=on,wait=off`)
  expect(said.slice(-6)).toEqual(['-m', '4 G', '-x', '-S', 'two words', ''])
})

test('while its disks are brought in they are served first, and QEMU gets a monitor for that', async () => {
  await mkdir(places.private)
  await writeFile(places.record, '')
  const said = await run('-S')
  expect(said.slice(0, 4)).toEqual(['agent', 'instant', 'resume', places.folder])
  expect(said.slice(-4)).toEqual(['-qmp', `unix:${option(places.qmp)},server=on,wait=off`, '-S', ''])
  expect(existsSync(places.ran)).toBe(true)
})

test('what cannot be served is not started, unless all of it has come meanwhile', async () => {
  await writeFile(temp.join('agent'), '#!/bin/sh\nexit 3\n')
  await expect(run()).rejects.toThrow('Command failed')
  await writeFile(temp.join('agent'), `#!/bin/sh\nrm "$3/.varve-instant/record.json"\nexit 1\n`)
  const said = await run('-S')
  expect(said[0]).toBe('qemu')
  expect(said).not.toContain(`unix:${option(places.qmp)},server=on,wait=off`)
})

test('the point’s own command line: its disks by their full names, and a guest that stops where one fails', async () => {
  const folder = temp.join('own, "a"')
  await mkdir(folder)
  const own = placesIn(folder)
  const disks = ['vda', 'vdb', 'sda'].map((name) => ({
    name,
    size: 512,
    file: `${folder}/${name}.qcow2`,
    alone: false,
    writtenBytes: 0,
  }))
  const words = [
    ['-name', 'guest=$(id)', '-drive', 'file=vda.qcow2,format=qcow2,if=virtio,rerror=ignore'],
    ['-blockdev', 'driver=qcow2,node-name=n1,file.driver=file,file.filename=vdb.qcow2'],
    ['-device', 'virtio-blk-pci,drive=n1,id=vdb', '-drive', 'file=sda.qcow2,format=qcow2,if=pflash,unit=1'],
    ['-drive', 'if=pflash,format=raw,readonly=on,file=attachments/pflash0', '-device', 'virtio-net-pci,netdev=n1'],
    ['-chardev', 'socket,id=ga,path=ga.sock,server=on', '-qmp', 'unix:qmp.sock,server=on'],
  ].flat()
  const command = { program: '/usr/bin/$(id)/qemu-kvm', words }
  const of = { places: own, record: { ...record, disks }, command, agent: temp.join('agent'), extra: ['-x'] }
  await writeFile(own.script, startScript(of), { mode: 0o700 })
  const env = { ...process.env, QEMU: temp.join('qemu') }
  const { stdout } = await promisify(execFile)(own.script, ['-S'], { env })
  const at = option(folder)
  expect(stdout.split('\n').slice(1)).toEqual(
    [
      ['-name', 'guest=$(id)', '-drive'],
      [`file=${at}/vda.qcow2,format=qcow2,if=virtio,rerror=stop,werror=stop`],
      ['-blockdev', `driver=qcow2,node-name=n1,file.driver=file,file.filename=${at}/vdb.qcow2`],
      ['-device', 'virtio-blk-pci,drive=n1,id=vdb,rerror=stop,werror=stop'],
      ['-drive', `file=${at}/sda.qcow2,format=qcow2,if=pflash,unit=1`],
      ['-drive', 'if=pflash,format=raw,readonly=on,file=attachments/pflash0'],
      ['-device', 'virtio-net-pci,netdev=n1', '-chardev', `socket,id=ga,path=${at}/ga.sock,server=on`],
      ['-qmp', `unix:${at}/qmp.sock,server=on`, '-daemonize', '-pidfile', own.pid, '-x', '-S', ''],
    ].flat(),
  )
  await expect(promisify(execFile)(own.script, [])).rejects.toThrow('/usr/bin/$(id)/qemu-kvm')
})

test('a second one is refused while the first one runs', async () => {
  await writeFile(temp.join('qemu'), '#!/bin/sh\ntouch -- "$1"\nread line\n')
  const env = { ...process.env, QEMU: temp.join('qemu'), MACHINE: '', MEMORY: '64' }
  const first = execFile(places.script, [], { env, cwd: temp.path })
  try {
    await eventually(() => existsSync(temp.join('-machine')))
    await expect(run()).rejects.toThrow('runs already')
  } finally {
    first.stdin!.end()
  }
})
