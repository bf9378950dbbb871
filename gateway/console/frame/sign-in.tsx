// The page of who is not signed in: how to get a link, a place for a token, and why a session ended.
import { useSignal } from '@preact/signals'
import { Button, ErrorNote, Field, Loading } from '../parts/basics.tsx'
import { Copy } from '../parts/copy.tsx'
import { common } from '../texts/common.ts'
import { frame } from '../texts/frame.ts'
import { link } from './console.ts'

const texts = frame.signIn

export const SignIn = () => {
  const token = useSignal('')
  const keep = useSignal(false)
  const state = link.state.value
  const submit = (event: Event): void => {
    event.preventDefault()
    const given = token.value.trim()
    token.value = ''
    // the error is the link's state
    void link.signIn({ token: given }, keep.value).catch(() => null)
  }
  if (state.kind === 'opening' || state.kind === 'lost')
    return (
      <main class="sign-in">
        <h1>{common.product}</h1>
        <p role="status">{state.kind === 'lost' ? frame.lost(state.error.message) : texts.opening}</p>
        <Loading rows={3} />
      </main>
    )
  return (
    <main class="sign-in">
      <h1>{common.product}</h1>
      {state.kind === 'out' && state.error !== null ? <ErrorNote error={state.error} /> : null}
      <h2>{texts.title}</h2>
      <p>{texts.intro}</p>
      <Copy text={texts.command} label={texts.title} />
      <p>{texts.or}</p>
      <form onSubmit={submit}>
        <Field
          label={texts.token}
          type="password"
          autocomplete="off"
          spellcheck={false}
          value={token.value}
          onInput={(event) => (token.value = event.currentTarget.value)}
          required
        />
        <label class="check">
          <input
            type="checkbox"
            checked={keep.value}
            onChange={(event) => (keep.value = event.currentTarget.checked)}
          />
          {texts.keep}
        </label>
        <Button type="submit" kind="main">
          {texts.submit}
        </Button>
      </form>
    </main>
  )
}
