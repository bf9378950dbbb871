// Begins a backup with the libvirt that is here and prints how it was refused, as one line of JSON; exit code 1 if it was not.
import { VarveError } from '../../protocol/errors.ts'
import { qcow2Disks, startLibvirtBench } from '../support/libvirt-lease.ts'
import { tempFolder } from '../support/temp.ts'

await using folder = await tempFolder()
await using bench = await startLibvirtBench(folder.path, qcow2Disks(folder.path, 1))
await using agent = await bench.agent()
try {
  await agent.driver.begin(bench.request())
  process.exitCode = 1
} catch (error) {
  if (!(error instanceof VarveError) || error.code !== 'DISK_UNSUPPORTED') throw error
  console.log(JSON.stringify({ code: error.code, message: error.message }))
}
