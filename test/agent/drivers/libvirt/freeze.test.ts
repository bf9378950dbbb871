// A guest of libvirt is frozen for the instant and thawed whatever happens. Method: the rig's real guest, with its agent, as a
// domain of a real libvirtd.

import { readdir, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { readDomain } from '../../../../agent/drivers/libvirt/domain-xml.ts'
import { libvirtGuest } from '../../../../agent/guest/libvirt-guest.ts'
import { FreezeNotes } from '../../../../agent/guest/freeze-notes.ts'
import { asBase } from '../../../support/lease.ts'
import { startLibvirtGuest } from '../../../support/libvirt-guest.ts'
import { qcow2Disks, startLibvirtBench, type LibvirtBench } from '../../../support/libvirt-lease.ts'
import { Program } from '../../../support/stand-program.ts'
import { eventually, tempFolder, type TempFolder } from '../../../support/temp.ts'

const isFrozen = async ({ libvirt }: LibvirtBench): Promise<boolean> =>
  (await libvirt.virsh('qemu-agent-command', 'db1', '{"execute":"guest-fsfreeze-status"}')).includes('"frozen"')

const source = (path: string): string => JSON.stringify(pathToFileURL(resolve(path)).href)

/** An agent that has frozen the guest, and prints the freezer's process id. */
const frozenBy = async (bench: LibvirtBench, folder: TempFolder): Promise<{ program: Program; freezer: number }> => {
  const file = folder.join('freezing.ts')
  const { guestAgentSocket: socket } = readDomain(await bench.libvirt.control.domainXml(bench.domain.domain))
  const guestAgent = libvirtGuest({ uri: bench.libvirt.uri, uuid: bench.domain.domain.uuid, socket })
  await writeFile(
    file,
    `import { freezeGuest } from ${source('agent/guest/freezer.ts')}
     import { driverHost } from ${source('test/support/driver-host.ts')}
     const { thawer } = await driverHost(${JSON.stringify(bench.stateFolder)})
     const guest = { guestAgent: ${JSON.stringify(guestAgent)}, machine: 'test', qmp: ${JSON.stringify(guestAgent)}, lease: 'lease' }
     const frozen = await freezeGuest({ ...guest, thawer, timeoutMs: 60_000 })
     console.log('frozen by ' + frozen.pid)
     setInterval(() => undefined, 1000)`,
  )
  const program = new Program(file)
  const [, pid] = await program.says(/frozen by (\d+)/)
  return { program, freezer: Number(pid) }
}

test('frozen for the instant and thawed; whoever dies in between, the guest is thawed', async () => {
  await using folder = await tempFolder()
  const { bench } = await startLibvirtGuest(folder.path)
  await using _libvirt = bench
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request({ consistency: 'freeze-required' }))
  expect([lease.consistency, lease.consistencyNote, await isFrozen(bench)]).toEqual(['frozen', null, false])
  await lease.end('committed')
  const next = await agent.driver.begin(bench.request({ consistency: 'freeze', base: asBase(lease) }))
  expect(next.consistency).toBe('frozen')
  await next.end('failed')

  const killed = await frozenBy(bench, folder)
  await using _first = killed.program
  expect(await isFrozen(bench)).toBe(true)
  await killed.program.end('SIGKILL')
  await eventually(async () => !(await isFrozen(bench)))
  await eventually(async () => (await readdir(folder.join('state', 'freezes'))).length === 0)

  const both = await frozenBy(bench, folder)
  await using _second = both.program
  process.kill(both.freezer, 'SIGKILL')
  await both.program.end('SIGKILL')
  // the agent may have begun to undo it between the two
  await using host = await bench.agent()
  host.host.thawer.start()
  await eventually(async () => !(await isFrozen(bench)))
  await eventually(async () => (await readdir(folder.join('state', 'freezes'))).length === 0)
  await host.host.thawer[Symbol.asyncDispose]()

  // libvirt ends with a guest frozen, and nobody starts it
  const alone = await frozenBy(bench, folder)
  await using _third = alone.program
  expect(await isFrozen(bench)).toBe(true)
  await bench.libvirt.stop('SIGKILL')
  await alone.program.end('SIGKILL')
  await eventually(async () => (await readdir(folder.join('state', 'freezes'))).length === 0)
  await bench.libvirt.start()
  await eventually(async () => !(await isFrozen(bench).catch(() => true)))
}, 180_000)

test('a domain that its agent has stopped runs again when that is killed, and where its guard is too, at the next start', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
  const { domain } = bench.domain
  const isRunning = async (): Promise<boolean> => (await bench.libvirt.control.domainState(domain)).state === 'running'
  const address = `libvirt ${domain.uuid} ${bench.libvirt.uri}`
  const stopping = async (): Promise<{ program: Program; guard: number }> => {
    const file = folder.join('stopping.ts')
    await writeFile(
      file,
      `import { pauseMachine } from ${source('agent/guest/pauser.ts')}
       import { libvirtRun, pausedMachine } from ${source('agent/guest/paused-machine.ts')}
       import { LibvirtConnection } from ${source('agent/libvirt/connection.ts')}
       import { driverHost } from ${source('test/support/driver-host.ts')}
       const { thawer } = await driverHost(${JSON.stringify(bench.stateFolder)})
       const connection = await LibvirtConnection.open({ uri: ${JSON.stringify(bench.libvirt.uri)} })
       const run = libvirtRun(connection, await connection.domainByUuid('${domain.uuid}'))
       const about = { address: pausedMachine(${JSON.stringify(address)}), machine: 'test', lease: 'lease' }
       const stopped = await pauseMachine({ ...about, run, timeoutMs: 60_000, thawer })
       console.log('stopped by ' + stopped.pid)
       setInterval(() => undefined, 1000)`,
    )
    const program = new Program(file)
    const [, pid] = await program.says(/stopped by (\d+)/)
    return { program, guard: Number(pid) }
  }
  const undone = async (): Promise<void> => {
    await eventually(async () => (await FreezeNotes.in(bench.stateFolder).list()).length === 0)
    expect(await isRunning()).toBe(true)
  }
  await bench.libvirt.control.resume(domain)
  const killed = await stopping()
  expect(await isRunning()).toBe(false)
  await killed.program.end('SIGKILL')
  await undone()

  const both = await stopping()
  process.kill(both.program.pid, 'SIGSTOP')
  process.kill(both.guard, 'SIGKILL')
  await both.program.end('SIGKILL')
  expect(await isRunning()).toBe(false)
  await using agent = await bench.agent()
  agent.host.thawer.start()
  await undone()
  await agent.host.thawer[Symbol.asyncDispose]()
}, 120_000)

test('a domain without an agent: a point with a note, or none where a freeze is required', async () => {
  await using folder = await tempFolder()
  await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request({ consistency: 'freeze' }))
  expect(lease).toMatchObject({ consistency: 'crash', consistencyNote: 'no guest agent is configured' })
  await lease.end('failed')

  const { domain } = bench.domain
  await bench.libvirt.control.resume(domain)
  const stopped = await agent.driver.begin(bench.request({ consistency: 'pause' }))
  expect(stopped).toMatchObject({ consistency: 'paused', consistencyNote: null })
  expect(await bench.libvirt.control.domainState(domain)).toMatchObject({ state: 'running' })
  await stopped.end('failed')
  const required = agent.driver.begin(bench.request({ consistency: 'freeze-required' }))
  await expect(required).rejects.toMatchObject({ code: 'FREEZE_REQUIRED' })
  expect(await bench.checkpoints()).toEqual([])
  expect(await FreezeNotes.in(bench.stateFolder).list()).toEqual([])
})
