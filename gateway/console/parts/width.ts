// How wide an element is, for pictures that are drawn to the pixel.
import { useSignal, type ReadonlySignal } from '@preact/signals'
import type { RefObject } from 'preact'
import { useEffect, useRef } from 'preact/hooks'

/** A reference for the element, and its width in pixels; 0 until it is known. */
export const useWidth = <E extends HTMLElement>(): [RefObject<E | null>, ReadonlySignal<number>] => {
  const element = useRef<E>(null)
  const width = useSignal(0)
  useEffect(() => {
    const found = element.current
    if (found === null) return
    const observer = new ResizeObserver(() => (width.value = found.clientWidth))
    observer.observe(found)
    width.value = found.clientWidth
    return () => observer.disconnect()
  }, [])
  return [element, width]
}
