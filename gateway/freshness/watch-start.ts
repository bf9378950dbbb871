// Whether the gateway before this one ended as it should: a mark in the catalog from its start to its end.
import type { Settings } from '../catalog/settings.ts'

/** When the gateway that runs now was started; empty where none runs, or the last one ended as it should. */
export const RUNNING_SETTING = 'running'

/** Marks a start; when the gateway before was started, if it did not end as it should, else null. */
export const markStart = async (settings: Settings, nowMs: number): Promise<number | null> => {
  const left = (await settings.get({ name: RUNNING_SETTING })) ?? ''
  await settings.set({ name: RUNNING_SETTING, value: String(nowMs) })
  return left === '' ? null : Number(left)
}

/** To be called as the last thing that an end does with the catalog. */
export const markEnd = async (settings: Settings): Promise<void> => {
  await settings.set({ name: RUNNING_SETTING, value: '' })
}
