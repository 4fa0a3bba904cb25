import type { Inputs, StoredInputs } from './inputs.ts';
import { isSecretInput, secretDigest } from './secret-inputs.ts';

/** Inputs as the registry keeps them. Of a secret there is only a digest, which depends on the key. */
export function storedInputs({ values, trees }: Inputs, key: string): StoredInputs {
  const stored = Object.entries(values).map(([name, value]) => [
    name,
    isSecretInput(name, value) ? { digest: secretDigest(name, value.text, key) } : { text: value.text },
  ]);
  return { values: Object.fromEntries(stored), trees };
}
