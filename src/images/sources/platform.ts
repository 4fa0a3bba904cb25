/** This machine's architecture, as OCI images and Debian name it alike. */
export const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
