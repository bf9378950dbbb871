// A text to take along: shown as it is, with a button that copies it.
import { useSignal } from '@preact/signals'
import { common } from '../texts/common.ts'
import { Button } from './basics.tsx'

const SHOWN_MS = 2000

export const Copy = ({ text, label }: { text: string; label: string }) => {
  const isCopied = useSignal(false)
  const copy = (): void => {
    navigator.clipboard.writeText(text).then(
      () => {
        isCopied.value = true
        setTimeout(() => (isCopied.value = false), SHOWN_MS)
      },
      // without a secure origin there is no clipboard; the text can be selected
      () => null,
    )
  }
  return (
    <div class="copy">
      <pre tabIndex={0} aria-label={label}>
        {text}
      </pre>
      <Button onClick={copy} label={common.copyLabel(label)}>
        {isCopied.value ? common.copied : common.copy}
      </Button>
    </div>
  )
}
