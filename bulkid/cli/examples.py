"""Examples on the help pages, by command: what one would type, under a comment that says why. Tests parse them all."""

from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {
    "bulkid": """
        # See what a sheet would change, on a simulated server
        bulkid plan robots.xlsx --sandbox
        # Change five accounts first, then the rest
        bulkid run robots.xlsx --first 5
        bulkid resume
        # Reverse the newest run
        bulkid undo last
        """,
    "check": """
        bulkid check robots.xlsx
        # A worksheet with a column that bulkid does not know
        bulkid check robots.xlsx --sheet EMEA --map "Bot=name"
        # A sheet from another program
        mytool | bulkid check -
        """,
    "plan": """
        bulkid plan robots.xlsx
        # Try it on a simulated server
        bulkid plan robots.xlsx --sandbox
        # Write the plan to a file, and apply just that later
        bulkid plan robots.xlsx --out plan.json
        bulkid run --plan plan.json
        # In a script: exit with 7 if something would change
        bulkid plan robots.xlsx --exit-code > drift.txt
        """,
    "run": """
        bulkid run robots.xlsx
        # Try it on a simulated server
        bulkid run robots.xlsx --sandbox
        # Only the first five accounts that change
        bulkid run robots.xlsx --first 5
        # In a script: do not ask, and stop when more than 5% fail
        bulkid run robots.xlsx --yes --max-failures 5% --json
        # Two jobs side by side
        bulkid run emea.toml apac.toml --yes
        """,
    "resume": """
        # The newest run that can be resumed
        bulkid resume
        # One of those that bulkid runs lists
        bulkid resume 20261128-182043-k4gs
        """,
    "undo": """
        # The newest run
        bulkid undo last
        # Only the first five accounts
        bulkid undo 20261128-182043-k4gs --first 5
        """,
    "runs": """
        bulkid runs --limit 5
        # Which runs are older than 90 days; then delete them
        bulkid runs --prune 90d --dry-run
        bulkid runs --prune 90d
        """,
    "report": """
        bulkid report 20261128-182043-k4gs --format xlsx
        """,
    "export": """
        bulkid export robots.xlsx
        # Edit the file, and send just what you edited
        bulkid run robots.xlsx
        # A sheet that deletes accounts unused for 180 days
        bulkid export old.xlsx --inactive-for 180d --action delete
        """,
    "doctor": """
        bulkid doctor
        bulkid doctor --profile production
        """,
    "job-schema": """
        bulkid job-schema > job.schema.json
        """,
    "completion": """
        # Load the file in ~/.bashrc: source ~/.bulkid.bash
        bulkid completion bash > ~/.bulkid.bash
        # Load the file in $PROFILE: . ~/bulkid.ps1
        bulkid completion powershell > ~/bulkid.ps1
        """,
    "serve": """
        bulkid serve
        # On a simulated server
        bulkid serve --sandbox
        # For a team, with TLS and users
        bulkid users add alice --role admin
        bulkid serve --host 0.0.0.0 --certfile console.pem
        """,
    "sandbox": """
        bulkid sandbox
        # With more accounts, and with faults
        bulkid sandbox --accounts 20000 --faults html=0.05
        """,
    "users": """
        bulkid users add alice --role admin
        bulkid users list
        """,
    "add": """
        bulkid users add alice --role admin
        """,
    "remove": """
        bulkid users remove alice
        """,
    "role": """
        bulkid users role alice operator
        """,
    "list": """
        bulkid users list
        """,
    "passwd": """
        bulkid users passwd alice
        """,
}
"""A command that is not here has no examples."""
