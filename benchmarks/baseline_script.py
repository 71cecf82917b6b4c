"""What an admin writes in an afternoon: pandas, aiohttp, a semaphore, a task per row, a csv report. No journal."""

# ruff: noqa: ANN001, ANN201 - written as an admin writes, not as bulkid is

import asyncio
import sys

import aiohttp
import pandas as pd


async def update(session, semaphore, url, organization, row):
    async with semaphore:
        body = {
            "partitionGlobalId": organization,
            "displayName": row["display_name"],
            "groupIDsToAdd": [group for group in row["groups_to_add"].split(";") if group],
            "groupIDsToRemove": [group for group in row["groups_to_remove"].split(";") if group],
        }
        try:
            async with session.put(f"{url}/api/RobotAccount/{row['robot_account_id']}", json=body) as response:
                text = await response.text()
                status = "updated" if response.status == 200 else "failed"
                return {**row, "status": status, "http_status": response.status, "error": "" if response.ok else text}
        except (aiohttp.ClientError, TimeoutError) as error:
            return {**row, "status": "failed", "http_status": None, "error": str(error)}


async def main(sheet, url, token, organization, report):
    rows = pd.read_csv(sheet, dtype=str, keep_default_na=False).to_dict("records")
    semaphore = asyncio.Semaphore(16)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        results = await asyncio.gather(*(update(session, semaphore, url, organization, row) for row in rows))
    frame = pd.DataFrame(results)
    frame.to_csv(report, index=False)
    print(frame["status"].value_counts().to_string())


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: baseline_script.py SHEET URL TOKEN ORGANIZATION REPORT")
    asyncio.run(main(*sys.argv[1:]))
