// Resources of other people's kinds in, as JSON on standard input; out, as JSON, what their schemas object to, one text a problem.
import { readFileSync } from "node:fs";

const PACKAGES = {
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};

async function problemsOf(resource) {
  const name = `${resource.kind} ${resource.metadata?.name}`;
  const [group, version] = resource.apiVersion.split("/");
  if (!(group in PACKAGES)) return [`${name}: no schema of ${resource.apiVersion}`];
  try {
    const found = await import(`@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${resource.kind}`);
    new found[resource.kind](resource).validate();
    return [];
  } catch (error) {
    return [`${name}: ${error.message}`];
  }
}

const problems = [];
for (const resource of JSON.parse(readFileSync(0, "utf8"))) problems.push(...(await problemsOf(resource)));
process.stdout.write(JSON.stringify(problems));
