// A process is known again by more than its pid.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { endProcess, markProcess, processState } from '../../agent/process-mark.ts'
import { eventually } from '../support/temp.ts'

test('running, stopped, ended; never another process with its pid', async () => {
  const child = spawn('sleep', ['1000'])
  const mark = markProcess(child.pid)!
  expect(processState(mark)).toBe('running')
  child.kill('SIGSTOP')
  await eventually(() => processState(mark) === 'stopped')
  expect(processState({ ...mark, startTicks: `${mark.startTicks}0` })).toBe('gone')
  expect(processState({ ...mark, boot: 'another' })).toBe('gone')
  expect(endProcess({ ...mark, startTicks: '1' })).toBe(false)
  expect(processState(mark)).toBe('stopped')
  expect(endProcess(mark)).toBe(true)
  await once(child, 'exit')
  expect(processState(mark)).toBe('gone')
  expect(endProcess(mark)).toBe(false)
})

test('this process, and none', () => {
  expect(processState(markProcess()!)).toBe('running')
  expect(markProcess(2 ** 30)).toBe(null)
})
