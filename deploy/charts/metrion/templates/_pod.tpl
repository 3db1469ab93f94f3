{{- /*
The pod of a service. (dict "root" $ "component" "gateway" "ports" (dict "http" 8080 "ops" 9080) "grace" 330
"variables" "<YAML list>" "preStop" 10 "spool" "emptyDir" or "claim" or ""); the rest comes from the service's values.
*/ -}}
{{- define "metrion.pod" -}}
{{- $values := index .root.Values .component -}}
metadata:
  labels:
    {{- include "metrion.labels" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .component }}
    checksum/settings: {{ printf "%s%s" (include "metrion.settings" .) (toYaml .root.Values.files) | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "metrion.podSpec" .root | nindent 2 }}
  terminationGracePeriodSeconds: {{ .grace }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "metrion.selector" $ | nindent 10 }}
    {{- end }}
  containers:
    - name: {{ .component }}
      args: [services.{{ .component }}]
      {{- include "metrion.container" .root | nindent 6 }}
      envFrom:
        - configMapRef: {name: {{ include "metrion.fullname" .root }}-{{ .component }}}
      env:
        {{- include "metrion.secretVariables" . | nindent 8 }}
        {{- with include "metrion.placeVariables" . }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- .variables | nindent 8 }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- range $name, $port := .ports }}
        - {name: {{ $name }}, containerPort: {{ $port }}}
        {{- end }}
      # Only the process is looked at to start and to live; what it depends on never restarts it.
      startupProbe:
        httpGet: {path: /healthz, port: ops}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /healthz, port: ops}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: ops}
        periodSeconds: 3
        timeoutSeconds: 2
        failureThreshold: 2
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
  volumes:
    {{- include "metrion.volumes" . | nindent 4 }}
    {{- if eq .spool "emptyDir" }}
    - name: spool
      emptyDir: {sizeLimit: {{ $values.spool.sizeLimit }}}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
  {{- with index $values $field }}
  {{ $field }}: {{ toYaml . | nindent 4 | trim }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- /* What every pod is: confined as the restricted standard asks. */ -}}
{{- define "metrion.podSpec" -}}
serviceAccountName: {{ include "metrion.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "metrion.container" -}}
image: {{ include "metrion.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "metrion.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if and .root.Values.files (not .hook) }}
- {name: files, mountPath: /etc/metrion, readOnly: true}
{{- end }}
{{- if .root.Values.secrets.natsCaSecret }}
- {name: nats-ca, mountPath: /etc/metrion-nats-ca, readOnly: true}
{{- end }}
{{- if and .root.Values.secrets.clickhouseCaSecret (has .component (list "logger" "dashboard")) }}
- {name: clickhouse-ca, mountPath: /etc/metrion-clickhouse-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "metrion.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if and .root.Values.files (not .hook) }}
- name: files
  configMap: {name: {{ include "metrion.fullname" .root }}-files}
{{- end }}
{{- with .root.Values.secrets.natsCaSecret }}
- name: nats-ca
  secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- if has .component (list "logger" "dashboard") }}
{{- with .root.Values.secrets.clickhouseCaSecret }}
- name: clickhouse-ca
  secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}
{{- end -}}
