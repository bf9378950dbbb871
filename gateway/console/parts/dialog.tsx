// A dialog over the page, and one that asks before something is done.
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { asVarveError, type ErrorCode, type VarveError } from '../../../protocol/errors.ts'
import { link } from '../frame/console.ts'
import { common } from '../texts/common.ts'
import { Button, ErrorNote, Field } from './basics.tsx'

interface DialogProps {
  readonly title: string
  /** Nothing closes it for now. */
  readonly isHeld?: boolean
  readonly onClose: () => void
  readonly children: ComponentChildren
}

/** Modal while it is shown; Escape closes it, and the focus goes back to where it was. */
export const Dialog = ({ title, isHeld = false, onClose, children }: DialogProps) => {
  const element = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement
    element.current?.showModal()
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={element}
      aria-labelledby={id}
      onCancel={(event) => {
        if (isHeld) event.preventDefault()
      }}
      onClose={() => {
        // browsers let a second Escape through in any case
        if (isHeld) element.current?.showModal()
        else onClose()
      }}
    >
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  )
}

/** Errors after which nobody knows whether the gateway did it. */
const UNHEARD: ReadonlySet<ErrorCode> = new Set(['CONNECTION_LOST', 'HEARTBEAT_TIMEOUT', 'DEADLINE_EXCEEDED'])

interface AskProps {
  readonly title: string
  /** What will happen, in sentences. */
  readonly children: ComponentChildren
  readonly action: string
  /** The way out without it; "Cancel" where nothing else is said. */
  readonly leave?: string
  readonly kind?: 'main' | 'danger'
  /** Has to be typed where something would be lost. */
  readonly typed?: string
  /** Does it; the dialog stays until then, and with the error where it cannot. */
  readonly onYes: () => Promise<unknown>
  readonly onClose: () => void
}

export const Ask = ({ title, children, action, leave, kind = 'main', typed, onYes, onClose }: AskProps) => {
  const written = useSignal('')
  const error = useSignal<VarveError | null>(null)
  const isBusy = useSignal(false)
  /** It was sent, and what came of it was not heard. */
  const isUnknown = useSignal(false)
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault()
    if (isBusy.value) return
    if (typed !== undefined && written.value !== typed) return
    isBusy.value = true
    error.value = null
    isUnknown.value = false
    const wasOpen = link.state.value.kind === 'open'
    try {
      await onYes()
      onClose()
    } catch (thrown) {
      error.value = asVarveError(thrown)
      isUnknown.value = wasOpen && UNHEARD.has(error.value.code)
    }
    isBusy.value = false
  }
  return (
    <Dialog title={title} isHeld={isBusy.value} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {children}
        {typed === undefined ? null : (
          <Field
            label={common.typeToConfirm(typed)}
            value={written.value}
            autocomplete="off"
            onInput={(event) => (written.value = event.currentTarget.value)}
          />
        )}
        {error.value === null ? null : <ErrorNote error={error.value} />}
        {isUnknown.value ? <p role="status">{common.unheard}</p> : null}
        <div class="actions">
          <Button disabled={isBusy.value} onClick={onClose}>
            {leave ?? common.cancel}
          </Button>
          <Button type="submit" kind={kind} disabled={isBusy.value || (typed !== undefined && written.value !== typed)}>
            {action}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
