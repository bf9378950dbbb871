// Which process serves a socket, and whose program may be asked for its version. Method: this one; a program of root's.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, copyFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { exporterOf, isOfHost } from '../../../../agent/drivers/external/exporter.ts'
import { markProcess } from '../../../../agent/process-mark.ts'
import { tempFolder } from '../../../support/temp.ts'

test('a socket is found that was bound with two slashes in its path', async () => {
  await using folder = await tempFolder()
  const server = createServer()
  server.listen(`${folder.path}//access.sock`)
  await once(server, 'listening')
  for (const path of [folder.join('access.sock'), `${folder.path}//access.sock`])
    expect(await exporterOf(path)).toEqual(markProcess())
  server.close()
  expect(await exporterOf(folder.join('access.sock'))).toBeNull()
})

test('a program that others than root may change is not asked', async () => {
  await using folder = await tempFolder()
  const program = folder.join('program')
  await copyFile('/bin/sleep', program)
  await chmod(program, 0o755)
  const child = spawn(program, ['60'])
  await once(child, 'spawn')
  const found = [await isOfHost(`/proc/${child.pid}`)]
  await chmod(program, 0o775)
  found.push(await isOfHost(`/proc/${child.pid}`))
  await chmod(program, 0o755)
  await chown(program, 65_534, 65_534)
  found.push(await isOfHost(`/proc/${child.pid}`))
  child.kill()
  expect(found).toEqual([true, false, false])
})
