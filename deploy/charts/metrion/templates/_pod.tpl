{{- /*
The pod template of a service. (dict "root" $ "component" "gateway" "ports" (dict "http" 8080 "ops" 9080) "grace" 330
"variables" "<YAML list>" "preStop" 10 "spool" "emptyDir", "claim" or ""); the rest comes from the service's values.
*/ -}}
{{- define "metrion.pod" -}}
{{- $values := index .root.Values .component -}}
metadata:
  labels:
    {{- include "metrion.labels" (dict "root" .root "component" .component "more" $values.podLabels) | nindent 4 }}
  annotations:
    {{- $own := dict "kubectl.kubernetes.io/default-container" .component }}
    {{- $checksum := dict "checksum/settings" (printf "%s%s" (include "metrion.settings" .) (include "metrion.filesReadAtStart" .) | sha256sum) }}
    {{- include "metrion.merged" (list $own $values.podAnnotations $checksum) | nindent 4 }}
spec:
  {{- include "metrion.podSpec" (dict "root" .root "values" $values "account" (include "metrion.serviceAccount" .root)) | nindent 2 }}
  terminationGracePeriodSeconds: {{ .grace }}
  topologySpreadConstraints:
    {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "metrion.selector" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- with $values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      args: [services.{{ .component }}]
      {{- include "metrion.container" (dict "root" .root "values" $values) | nindent 6 }}
      envFrom:
        - configMapRef: {name: {{ include "metrion.fullname" .root }}-{{ .component }}}
      env:
        {{- include "metrion.environment" . | nindent 8 }}
      ports:
        {{- range $name, $port := .ports }}
        - {name: {{ $name }}, containerPort: {{ $port }}}
        {{- end }}
      # Startup and liveness check only the process, so a failing dependency never restarts it.
      {{- range $name, $probe := include "metrion.probes" (dict "values" $values) | fromYaml }}
      {{ $name }}:
        {{- toYaml $probe | nindent 8 }}
      {{- end }}
      {{- with .preStop }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ . }}}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        {{- include "metrion.mounts" . | nindent 8 }}
        {{- if .spool }}
        - {name: spool, mountPath: /var/lib/metrion/gateway}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "metrion.volumes" . | nindent 4 }}
    {{- if eq .spool "emptyDir" }}
    - name: spool
      emptyDir: {sizeLimit: {{ $values.spool.sizeLimit }}}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- /* (dict "root" $ "values" <of a workload> "account" "name"): the fields of every pod, conforming to the standard `restricted`. */ -}}
{{- define "metrion.podSpec" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "metrion.securityContext" (list .root.Values.podSecurityContext .values.podSecurityContext) | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $field := list "hostAliases" "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $.values $field }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "metrion.container" -}}
image: {{ include "metrion.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "metrion.securityContext" (list .root.Values.securityContext .values.securityContext) | nindent 2 }}
{{- end -}}

{{- /* (list <global> <workload>): merged, as YAML. */ -}}
{{- define "metrion.securityContext" -}}
{{- $merged := deepCopy (first .) -}}
{{- include "metrion.patch" (dict "base" $merged "patch" (deepCopy (last . | default dict))) -}}
{{- toYaml $merged -}}
{{- end -}}

{{- /* (dict "values" <of a workload>): the three probes, with the overrides of values.yaml, as YAML. */ -}}
{{- define "metrion.probes" -}}
{{- $probes := dict
  "startupProbe" (dict "httpGet" (dict "path" "/healthz" "port" "ops") "periodSeconds" 2 "failureThreshold" 60)
  "livenessProbe" (dict "httpGet" (dict "path" "/healthz" "port" "ops") "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6)
  "readinessProbe" (dict "httpGet" (dict "path" "/readyz" "port" "ops") "periodSeconds" 3 "timeoutSeconds" 2 "failureThreshold" 2) -}}
{{- range $name, $probe := $probes -}}
{{- include "metrion.patch" (dict "base" $probe "patch" (deepCopy (index $.values $name | default dict))) -}}
{{- end -}}
{{- toYaml $probes -}}
{{- end -}}

{{- define "metrion.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if include "metrion.filesRead" . }}
- {name: files, mountPath: /etc/metrion, readOnly: true}
{{- end }}
{{- if .root.Values.secrets.natsCaSecret }}
- {name: nats-ca, mountPath: /etc/metrion-nats-ca, readOnly: true}
{{- end }}
{{- if and .root.Values.secrets.clickhouseCaSecret (has .component (list "logger" "dashboard" "cli")) }}
- {name: clickhouse-ca, mountPath: /etc/metrion-clickhouse-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "metrion.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if include "metrion.filesRead" . }}
- name: files
  configMap: {name: {{ include "metrion.fullname" .root }}-files}
{{- end }}
{{- with .root.Values.secrets.natsCaSecret }}
- name: nats-ca
  secret: {secretName: {{ . }}, items: [{key: {{ $.root.Values.secrets.natsCaKey }}, path: ca.crt}]}
{{- end }}
{{- if has .component (list "logger" "dashboard" "cli") }}
{{- with .root.Values.secrets.clickhouseCaSecret }}
- name: clickhouse-ca
  secret: {secretName: {{ . }}, items: [{key: {{ $.root.Values.secrets.clickhouseCaKey }}, path: ca.crt}]}
{{- end }}
{{- end }}
{{- end -}}
